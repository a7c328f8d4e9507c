"""The twelve commands of the original's command line, over real HTTP, found by discovery."""

import pytest
from keystoneauth1.session import Session

from tatu.ports import Project
from tatu.service import paging
from tests.api.keys import ClientKey
from tests.api.original import DEMO, HEX, OTHER, original, original_template, served, who
from tests.fakes.original.client import OriginalClient, Refusal, SignedIn

CA = ("auth_id", "name", "user_pub_key", "host_pub_key")
USER = (
    "serial",
    "principals",
    "revoked",
    "user_name",
    "user_id",
    "fingerprint",
    "created_at",
    "expires_at",
)
HOST = ("id", "name", "srv_url", "pat_bastions")
HOST_CERTIFICATE = ("hostname", "host_id", "fingerprint", "created_at", "expires_at")


@pytest.fixture(scope="module")
def wire(template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with original(original_template(template, folder), tmp_path_factory.mktemp("wire")) as made:
        yield made


@pytest.fixture(scope="module")
def url(wire):
    with served(wire.deployment.app) as found:
        yield found


@pytest.fixture
def client(wire, url):
    def made(role="member", project=DEMO, *, root="/", **more):
        user = who(role, project)
        signed_in = SignedIn(wire.deployment.token(user), user, project, url + root)
        return OriginalClient(Session(signed_in), **more)

    return made


def test_the_version_is_found_at_the_root_of_the_catalog(client, url):
    assert client().endpoint.rstrip("/") == f"{url}/v1"
    assert client(root="/v1/").endpoint.rstrip("/") == f"{url}/v1"


def test_the_second_version_is_found_there_too(client, url):
    assert client(version="2").endpoint.rstrip("/") == f"{url}/v2"
    assert client(version="2", root="/v2").endpoint.rstrip("/") == f"{url}/v2"


def test_the_columns_of_an_authority_are_filled(wire, client):
    fresh = "cd" * 16
    wire.ledger.directory.create_project(Project(id=fresh, name="fresh"), wire.deployment.event())
    made = client("admin").ca_create(fresh)
    shown = client("admin").ca_show(fresh)
    (listed,) = (found for found in client("admin", everything=True).ca_list() if found == made)
    assert made == shown == listed
    assert all(made[column] for column in CA)
    assert [found["auth_id"] for found in client("reader").ca_list()] == [DEMO]


def test_a_user_certificate_is_made_shown_listed_and_revoked(client):
    commands = client()
    made = commands.usercert_create(f"{ClientKey().line} me@desk")
    assert all(column in made for column in (*USER, "cert"))
    shown = commands.usercert_show(made["serial"])
    assert {column: shown[column] for column in USER} == {c: made[c] for c in USER}
    assert commands.usercert_list()[0] == shown
    assert commands.usercert_revoke(DEMO, made["serial"]) == {}
    assert commands.usercert_show(made["serial"])["revoked"] is True


def test_hosts_and_their_certificates_are_listed_and_shown(wire, client):
    made = wire.host_certificate(wire.boot().json["token"]).json
    commands = client("reader")
    (host,) = commands.host_list()
    assert commands.host_show(HEX) == host
    assert set(host) == set(HOST)
    (listed,) = commands.hostcert_list()
    assert commands.hostcert_show(HEX, made["fingerprint"]) == listed
    assert all(listed[column] for column in (*HOST_CERTIFICATE, "cert"))
    assert commands.pat_list() == []


def test_what_is_refused_is_told_in_words(client):
    for ask, status, message in (
        (lambda: client().ca_show(OTHER), 404, "No Authority found with that ID"),
        (lambda: client().usercert_show(999), 404, "there is no such certificate"),
        (
            lambda: client().usercert_revoke(DEMO, 999),
            400,
            "Can't find the certificate for serial # 999",
        ),
        (
            lambda: client("manager").ca_create(DEMO),
            409,
            "This certificate authority already exists.",
        ),
        (
            lambda: client("manager").ca_create(OTHER),
            403,
            "auth_id is not the project of the token",
        ),
        (lambda: client("reader").usercert_create(ClientKey().line), 403, None),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.status == status
        assert refused.value.message == (message or refused.value.message)
        assert refused.value.message


def test_a_long_list_is_gone_through_in_parts(client, monkeypatch):
    serials = {client().usercert_create(ClientKey().line)["serial"] for _ in range(3)}
    monkeypatch.setattr("tatu.api.v1.lists.PAGE", 2)
    assert paging.PAGE > 2
    listed = [found["serial"] for found in client().usercert_list()]
    assert serials <= set(listed)
    assert listed == sorted(set(listed), reverse=True)
