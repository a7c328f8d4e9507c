"""Hosts over HTTP: admitted, enrolled, listed, deleted (security.md S8, S11)."""

import json

import pytest

from tatu.core import enrolment
from tatu.core.certificate import Certificate, CertificateType
from tests.api.deployment import deployed
from tests.api.host import NONCE, enrol
from tests.api.keys import ClientKey

ENROLMENTS = "/v2/enrolments"


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


def test_a_host_that_is_admitted_again_keeps_what_the_request_leaves_out(deployment):
    first = deployment.admit("blue", "db-1", names=["www"], addresses=["192.0.2.7"])["host"]
    assert deployment.admit("blue", "db-1")["host"]["addresses"] == ["192.0.2.7"]
    assert deployment.admit("blue", "db-1")["host"]["names"] == first["names"]
    assert deployment.admit("blue", "db-1", addresses=[])["host"]["addresses"] == []


def test_a_host_is_admitted_and_enrolled(deployment):
    admitted = deployment.admit("blue", "db-1", addresses=["192.0.2.7"])
    assert admitted["host"]["state"] == "admitted"
    keys = [ClientKey(), ClientKey()]
    answer = enrol(deployment, admitted["token"], keys)
    assert answer.status_code == 201, answer.text
    token = enrolment.EnrolmentToken.parse(admitted["token"])
    text = answer.json["answer"]
    assert enrolment.answer_mac(token.secret, NONCE, text.encode()) == answer.json["mac"]
    told = json.loads(text)
    for line, key in zip(told["certificates"], keys, strict=True):
        contents = Certificate.parse(line).contents
        assert (contents.type, contents.subject_key) == (CertificateType.HOST, key.public)
        assert contents.principals == ("db-1", "192.0.2.7")
    shown = deployment.call("GET", "/v2/authorities/blue/hosts/db-1", "blue-reader").json
    assert shown["state"] == "enrolled"
    assert [key["fingerprint"] for key in shown["host_keys"]] == [
        k.public.fingerprint for k in keys
    ]
    listed = deployment.call("GET", "/v2/host-certificates?host=db-1", "blue-reader").json["items"]
    assert {item["host"] for item in listed} == {"db-1"}
    path = f"/v2/authorities/blue/host-certificates/{listed[0]['serial']}"
    assert deployment.call("GET", path, "blue-reader").json["certificate"] in told["certificates"]


def test_other_keys_are_refused_and_shown(deployment):
    token = deployment.admit("blue", "db-1")["token"]
    assert enrol(deployment, token, [ClientKey()]).status_code == 201
    assert enrol(deployment, token, [ClientKey()]).status_code == 409
    shown = deployment.call("GET", "/v2/authorities/blue/hosts/db-1", "blue-reader").json
    assert "refused_at" in shown


def test_no_token_an_old_token_and_a_wrong_one_read_the_same(deployment):
    token = deployment.admit("blue", "db-1", validity=60)["token"]
    keys = [ClientKey()]
    wrong = enrol(deployment, token, keys, mac="0" * 64)
    unknown = enrol(deployment, token, keys, host="db-2")
    nowhere = enrol(deployment, token, keys, authority="none")
    deployment.clock.move(minutes=2)
    late = enrol(deployment, token, keys)
    told = {(a.status_code, a.json["detail"]) for a in (wrong, unknown, nowhere, late)}
    assert (len(told), next(iter(told))[0]) == (1, 403)


def test_the_token_is_in_no_cache_and_in_no_later_answer(deployment):
    answer = deployment.call(
        "POST",
        "/v2/authorities/blue/enrolment-tokens",
        "blue-manager",
        json={"host": "db-1", "validity": 600},
    )
    assert answer.headers["Cache-Control"] == "no-store"
    shown = deployment.call("GET", "/v2/authorities/blue/hosts/db-1", "blue-manager").text
    assert answer.json["token"] not in shown


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ({"host": "github.com"}, 400),
        ({"host": "192"}, 400),
        ({"host": "db", "names": ["github.com"]}, 403),
        ({"host": "db", "names": ["a b"]}, 400),
        ({"host": "db", "addresses": ["999.1.1.1"]}, 400),
        ({"host": "db", "addresses": ["0.0.0.0"]}, 400),
        ({"host": "db", "validity": 1}, 400),
    ],
)
def test_a_host_is_called_only_what_it_may_be(deployment, what, status):
    path = "/v2/authorities/blue/enrolment-tokens"
    assert deployment.call("POST", path, "blue-manager", json=what).status_code == status


def test_two_hosts_share_no_name(deployment):
    deployment.admit("blue", "a", names=["db"])
    answer = deployment.call(
        "POST",
        "/v2/authorities/blue/enrolment-tokens",
        "blue-manager",
        json={"host": "b", "names": ["db"]},
    )
    assert answer.status_code == 409
    assert deployment.admit("red", "b", names=["db"])["host"]["names"] == ["db"]


def test_a_deleted_host_has_no_certificate_left(deployment):
    token = deployment.admit("blue", "db-1")["token"]
    enrol(deployment, token, [ClientKey()])
    path = "/v2/authorities/blue/hosts/db-1"
    assert deployment.call("DELETE", path, "blue-manager").status_code == 204
    assert deployment.call("GET", path, "blue-manager").status_code == 404
    assert deployment.call("DELETE", path, "blue-manager").status_code == 404
    items = deployment.call("GET", "/v2/host-certificates", "blue-reader").json["items"]
    assert all("revoked_at" in item for item in items)
    assert items
