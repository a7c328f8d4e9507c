"""The original's command line against a real Keystone, whose catalog has the API."""

import uuid

import pytest

from tests.api.keys import ClientKey
from tests.fakes.original.client import OriginalClient, Refusal
from tests.openstack.clouds import Cloud
from tests.openstack.deployment import deployed

OPEN = "[original_wire]\nenabled = true\nnoauth = true\n"


@pytest.fixture(scope="module")
def cloud(identity_lab):
    return Cloud(identity_lab)


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    with deployed(identity_lab, tmp_path_factory.mktemp("tatu"), OPEN) as running:
        yield running.start()


@pytest.fixture(scope="module")
def project(cloud, tatu):
    return cloud.make("project")


@pytest.fixture
def person(cloud, project):
    """Somebody with a role in the project, at the command line."""

    def made(role):
        user = cloud.make("user")
        cloud.assign(role, f"projects/{project}", user=user)
        return user, OriginalClient(cloud.session(user, project_id=project))

    return made


def test_the_journey_of_the_command_line(cloud, tatu, project, person):
    _, manager = person("manager")
    assert manager.endpoint.rstrip("/") == f"{tatu.url}/v1"
    made = manager.ca_create(project)
    assert made["name"] == cloud.get(f"/projects/{project}")["project"]["name"]
    assert manager.ca_show(str(uuid.UUID(project))) == made
    user, member = person("member")
    certificate = member.usercert_create(f"{ClientKey().line} me@desk")
    assert (certificate["user_id"], certificate["auth_id"]) == (user, project)
    assert certificate["principals"] == "member"
    assert [found["serial"] for found in member.usercert_list()] == [certificate["serial"]]
    assert member.usercert_revoke(project, certificate["serial"]) == {}
    assert member.usercert_show(certificate["serial"])["revoked"] is True
    with pytest.raises(Refusal) as refused:
        member.ca_create(uuid.uuid4().hex)
    assert refused.value.status == 403
    assert member.host_list() == member.hostcert_list() == member.pat_list() == []


def test_a_token_of_another_project_is_worth_nothing_here(cloud, project, person):
    elsewhere = cloud.make("project")
    stranger = cloud.make("user")
    cloud.assign("manager", f"projects/{elsewhere}", user=stranger)
    client = OriginalClient(cloud.session(stranger, project_id=elsewhere))
    assert client.ca_list() == []
    for ask in (lambda: client.ca_show(project), lambda: client.usercert_show(1)):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.status == 404
