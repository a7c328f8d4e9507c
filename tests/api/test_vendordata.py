"""What Nova asks for its instances, and who else does (security.md S11, S21)."""

import json
from dataclasses import replace

import pytest

from tatu.api.app import create_app
from tatu.core import enrolment
from tests.api.deployment import Deployment, deployed
from tests.api.keys import ClientKey
from tests.api.test_hosts import enrol
from tests.fakes.inventory import FakeInventory

PATH = "/v2/vendordata/nova"
A = "aaaaaaaa-0000-4000-8000-000000000001"
MARKED = "c2VjcmV0IG9mIGEgdXNlcg=="


@pytest.fixture
def inventory():
    return FakeInventory()


@pytest.fixture
def deployment(template, tmp_path, inventory):
    """A deployment with Nova's user, whose project is none of the instances'."""
    with deployed(template, tmp_path) as made:
        parts = replace(made.parts, instances=replace(made.parts.instances, inventory=inventory))
        found = Deployment(parts, create_app(parts), made.clock, dict(made.keys))
        found.add_role("tatu-vendordata")
        found.add_user("red-nova", "red", "tatu-vendordata")
        inventory.put(A, built_at=made.clock(), addresses=["192.0.2.7"])
        yield found


def posted(instance=A, project="blue"):
    """What Nova posts."""
    return {
        "project-id": project,
        "instance-id": instance,
        "image-id": "5c3b21db-cf4b-4e1b-9f3e-039e847ed23f",
        "user-data": MARKED,
        "hostname": "db",
        "metadata": {"ssh_user": "ubuntu", "a": "b"},
        "boot-roles": "admin,reader,manager,member",
    }


def ask(deployment, user="red-nova", **what):
    headers = {"Accept": "application/json", "User-Agent": "openstack-nova-vendordata"}
    return deployment.call("POST", PATH, user, json=posted(**what), headers=headers)


def audited(deployment, *actions):
    found = deployment.call("GET", "/v2/audit-events?after=0&limit=1000", "blue-admin").json
    events = [json.loads(item["body"]) for item in found["items"]]
    return [event for event in events if not actions or event["action"] in actions]


def test_nova_gets_what_an_instance_needs_to_enrol(deployment):
    answer = ask(deployment)
    assert answer.status_code == 200, answer.text
    told = answer.json
    assert list(told) == ["version", "authority", "host", "url", "statement_keys", "token"]
    assert (told["version"], told["authority"], told["host"]) == (1, "blue", A)
    assert answer.headers["Cache-Control"] == "no-store"
    assert ask(deployment).json == told
    public = deployment.call("GET", "/v2/authorities/blue/public-keys").json["keys"]
    assert told["statement_keys"] == [
        key["public_key"] for key in public if key["purpose"] == "statement"
    ]
    token = enrolment.EnrolmentToken.parse(told["token"])
    assert (token.url, token.host) == (told["url"], A)
    assert enrol(deployment, told["token"], [ClientKey()]).status_code == 201
    assert "token" not in ask(deployment).json


def test_an_id_without_dashes_is_of_the_same_instance(deployment):
    assert ask(deployment, instance=A.replace("-", "").upper()).json == ask(deployment).json


@pytest.mark.parametrize("user", ["blue-admin", "red-admin", "blue-manager", "blue-member"])
def test_nobody_else_may_ask_administrators_neither_and_that_is_written_down(deployment, user):
    answer = ask(deployment, user)
    assert (answer.status_code, answer.json["title"]) == (403, "Who asks may not")
    (event,) = audited(deployment, "request.denied")
    assert (event["subject"], event["actor"]["id"]) == ("vendordata.nova", user)
    assert event["facts"] == {"rule": "tatu:vendordata:create"}


def test_a_role_that_only_differs_in_case_is_not_novas(deployment):
    deployment.add_role("Tatu-Vendordata")
    deployment.add_user("blue-impostor", "blue", "Tatu-Vendordata")
    assert ask(deployment, "blue-impostor").status_code == 403


def test_without_a_token_there_is_no_answer(deployment):
    assert ask(deployment, None).status_code == 401


@pytest.mark.parametrize(
    "what", [{"project": "red"}, {"instance": "bbbbbbbb-0000-4000-8000-000000000002"}]
)
def test_an_instance_that_the_project_has_not_gets_nothing(deployment, what):
    answer = ask(deployment, **what)
    assert (answer.status_code, "no such instance" in answer.json["detail"]) == (403, True)
    assert audited(deployment, "vendordata.denied")


def test_after_the_window_there_is_no_token(deployment):
    assert "token" in ask(deployment).json
    deployment.clock.move(minutes=11)
    deployment.forget_tokens()
    told = ask(deployment).json
    assert (told["host"], "token" in told) == (A, False)


def test_an_outage_of_the_cloud_is_one_of_ours(deployment, inventory):
    inventory.out = True
    assert ask(deployment).status_code == 503


def test_a_project_without_authority_is_not_there(deployment):
    assert ask(deployment, project="green").status_code == 404


@pytest.mark.parametrize(
    "what", [{"instance": "x"}, {"instance": "../servers"}, {"project": "a b"}, {"project": ""}]
)
def test_ids_that_none_has_are_malformed(deployment, what):
    assert ask(deployment, **what).status_code == 400


def test_user_data_is_nowhere_afterwards(deployment, caplog, capsys):
    assert ask(deployment).status_code == 200
    assert ask(deployment, project="red").status_code == 403
    out = capsys.readouterr()
    assert MARKED not in caplog.text + out.out + out.err
    assert all(MARKED not in json.dumps(event) for event in audited(deployment))


def test_user_data_without_end_is_not_read(deployment):
    body = posted() | {"user-data": "x" * 2**20}
    assert deployment.call("POST", PATH, "red-nova", json=body).status_code == 413
