"""From a key to a token and what it is good for (security.md S7)."""

import json

import pytest

from tatu.core.sshsig import Namespace
from tests.api.deployment import deployed
from tests.api.keys import ClientKey


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


def challenge(deployment, user="blue-admin", key=None, project="blue", purpose="login"):
    body = {
        "user": user,
        "project": project,
        "public_key": (key or deployment.keys["blue-admin"]).line,
        "purpose": purpose,
    }
    answer = deployment.call("POST", "/v2/challenges", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json


def redeem(deployment, made, key=None, namespace=Namespace.LOGIN):
    signature = (key or deployment.keys["blue-admin"]).sign(namespace, made["message"].encode())
    body = {"challenge": made["id"], "signature": signature}
    return deployment.call("POST", "/v2/tokens", json=body)


def whoami(deployment, token):
    headers = {"Authorization": f"Bearer {token}"}
    return deployment.call("GET", "/v2/whoami", headers=headers)


def test_a_signed_challenge_gives_a_token_once(deployment):
    made = challenge(deployment)
    answer = redeem(deployment, made)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    told = whoami(deployment, answer.json["token"]).json
    assert told == answer.json["identity"]
    assert (told["subject"], told["project"], told["fresh"]) == ("blue-admin", "blue", False)
    assert redeem(deployment, made).status_code == 401


def test_names_serve_as_well_as_ids(deployment):
    made = challenge(deployment, user="blue-admin-name", project="blue-name")
    assert redeem(deployment, made).json["identity"]["subject"] == "blue-admin"


def test_the_message_says_for_whom_and_where(deployment):
    facts = json.loads(challenge(deployment, purpose="administer")["message"])
    assert facts["deployment"] == deployment.call("GET", "/v2").json["url"]
    assert (facts["user"], facts["purpose"]) == ("blue-admin", "administer")


def test_whoever_cannot_sign_in_is_told_one_and_the_same(deployment):
    stranger = ClientKey()
    told = set()
    for user, project, key, namespace in (
        ("nobody", "blue", stranger, Namespace.LOGIN),
        ("blue-admin", "blue", stranger, Namespace.LOGIN),
        ("blue-admin", "red", deployment.keys["blue-admin"], Namespace.LOGIN),
        ("blue-admin", "none", deployment.keys["blue-admin"], Namespace.LOGIN),
        ("blue-member", "blue", deployment.keys["blue-admin"], Namespace.LOGIN),
        ("blue-admin", "blue", deployment.keys["blue-admin"], Namespace.SUBJECT),
    ):
        made = challenge(deployment, user, key, project)
        answer = redeem(deployment, made, key, namespace)
        told.add((answer.status_code, answer.json["detail"]))
    assert len(told) == 1
    assert next(iter(told))[0] == 401


def test_a_challenge_ends_after_a_minute(deployment):
    made = challenge(deployment)
    deployment.clock.move(seconds=61)
    assert redeem(deployment, made).status_code == 401


def test_a_token_ends_after_an_hour(deployment):
    token = redeem(deployment, challenge(deployment)).json["token"]
    deployment.clock.move(minutes=59)
    assert whoami(deployment, token).status_code == 200
    deployment.clock.move(minutes=2)
    assert whoami(deployment, token).status_code == 401


def test_a_token_that_its_holder_ends_is_ended(deployment):
    token = redeem(deployment, challenge(deployment)).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert deployment.call("DELETE", "/v2/tokens/current", headers=headers).status_code == 204
    assert whoami(deployment, token).status_code == 401


def test_the_directory_is_changed_only_after_a_fresh_sign_in(deployment):
    body = {"name": "carol"}
    stale = deployment.call("POST", "/v2/users", "blue-admin", json=body)
    assert (stale.status_code, stale.json["detail"][:26]) == (403, "a fresh sign-in is needed ")
    token = redeem(deployment, challenge(deployment, purpose="administer")).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert deployment.call("POST", "/v2/users", headers=headers, json=body).status_code == 201
    deployment.clock.move(seconds=61)
    assert deployment.call("GET", "/v2/users", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer tatu_x",
        "Bearer \xff",
        "bearer  x",
        "x" * 9000,
    ],
)
def test_what_is_no_token_is_refused(deployment, authorization):
    answer = deployment.call("GET", "/v2/whoami", headers={"Authorization": authorization})
    assert answer.status_code == 401
