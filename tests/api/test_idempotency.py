"""A repeated POST does nothing twice, and gives back nothing that has ended (security.md S10)."""

import pytest

from tatu.core.authority import KeyState
from tatu.ports import Assignment
from tests.api.deployment import deployed
from tests.api.keys import ClientKey

PATH = "/v2/authorities/blue/user-certificates"


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


def post(deployment, body, user="blue-member", key="k", path=PATH, **more):
    headers = {"Idempotency-Key": key}
    return deployment.call("POST", path, user, json=body, headers=headers, **more)


@pytest.fixture
def body(deployment):
    return deployment.wanted(ClientKey(), "blue-member")


def serials(deployment):
    listed = deployment.call("GET", "/v2/user-certificates", "blue-admin").json["items"]
    return [item["serial"] for item in listed]


def test_a_repeat_gets_the_very_same_answer(deployment, body):
    first, second = post(deployment, body), post(deployment, body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert serials(deployment) == [first.json["serial"]]


def test_another_key_is_another_request(deployment, body):
    assert post(deployment, body).json["serial"] != post(deployment, body, key="l").json["serial"]


def test_a_key_of_another_request_is_refused(deployment, body):
    post(deployment, body)
    other = deployment.wanted(ClientKey(), "blue-member")
    assert post(deployment, other).status_code == 409
    assert post(deployment, {"items": [body]}, path=f"{PATH}/batch").status_code == 409


def test_callers_share_no_keys(deployment, body):
    post(deployment, body)
    other = deployment.wanted(ClientKey(), "blue-manager")
    assert post(deployment, other, user="blue-manager").status_code == 201


def test_a_revoked_certificate_is_never_given_again(deployment, body):
    serial = post(deployment, body).json["serial"]
    deployment.call(
        "POST",
        "/v2/authorities/blue/revocations",
        "blue-member",
        json={"serial": serial, "reason": "lost"},
    )
    again = post(deployment, body)
    assert (again.status_code, again.json["type"]) == (410, "urn:tatu:problem:gone")


def test_a_batch_with_one_that_was_revoked_is_not_given_again(deployment):
    items = [deployment.wanted(ClientKey(), "blue-member") for _ in range(2)]
    first = post(deployment, {"items": items}, path=f"{PATH}/batch")
    assert first.content == post(deployment, {"items": items}, path=f"{PATH}/batch").content
    serial = first.json["items"][1]["certificate"]["serial"]
    deployment.call(
        "POST",
        "/v2/authorities/blue/revocations",
        "blue-member",
        json={"serial": serial, "reason": "lost"},
    )
    assert post(deployment, {"items": items}, path=f"{PATH}/batch").status_code == 410


def test_what_a_revoked_key_signed_is_never_given_again(deployment, body):
    first = post(deployment, body).json
    (key,) = (
        one
        for one in deployment.ledger.authorities.snapshot("blue").authority.keys
        if one.public_key.fingerprint == first["signature_key"]
    )
    deployment.ledger.authorities.set_key_state(
        "blue", key.reference, KeyState.RETIRED, deployment.event(), revoked=True
    )
    assert post(deployment, body).status_code == 410
    path = f"/v2/authorities/blue/certificates/{first['serial']}/status"
    status = deployment.call("GET", path, "blue-reader").json
    assert (status["status"], status["reason"]) == ("revoked", "signature key revoked")
    listed = deployment.call("GET", "/v2/user-certificates?revoked=true", "blue-member").json
    assert [item["serial"] for item in listed["items"]] == [first["serial"]]


def test_whoever_was_disabled_gets_nothing_from_memory(deployment, body):
    post(deployment, body)
    deployment.ledger.directory.enable_user("blue-member", deployment.event(), enabled=False)
    assert post(deployment, body).status_code == 401


def test_whoever_lost_the_role_gets_nothing_from_memory(deployment, body):
    post(deployment, body)
    assert deployment.call("GET", "/v2/whoami", "blue-member").status_code == 200  # cached
    held = Assignment(project="blue", role="r-member", user="blue-member")
    deployment.ledger.directory.unassign(held, deployment.event())
    assert post(deployment, body).status_code == 403


def test_a_refusal_is_not_kept(deployment, body):
    wrong = body | {"proof": "nonsense"}
    assert post(deployment, wrong).status_code == 400
    assert post(deployment, body).status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 129, "k\x00", "é"])
def test_what_is_no_key_is_refused(deployment, body, key):
    assert post(deployment, body, key=key).status_code == 400


def test_a_token_is_never_kept(deployment):
    path = "/v2/authorities/blue/enrolment-tokens"
    answer = post(deployment, {"host": "db"}, user="blue-manager", path=path)
    assert (answer.status_code, "never kept" in answer.json["detail"]) == (400, True)


def test_what_needs_no_token_takes_no_key(deployment):
    key = ClientKey().line
    enrolment = {"authority": "blue", "host": "db", "nonce": "0" * 64, "mac": "0" * 64}
    for path, body in {
        "/v2/challenges": {"user": "alice", "project": "blue", "public_key": key},
        "/v2/tokens": {"challenge": "x", "signature": "x"},
        "/v2/enrolments": enrolment | {"host_keys": [key], "signatures": ["x"]},
    }.items():
        answer = post(deployment, body, user=None, path=path)
        assert (answer.status_code, "never kept" in answer.json["detail"]) == (400, True)
