"""Rate limits: by who and what before by where (security.md S10)."""

import ipaddress
from dataclasses import replace

import pytest
from falcon import testing
from falcon.request import Request

from tatu.api import limits
from tatu.api.app import create_app
from tests.api.deployment import Deployment, deployed
from tests.api.keys import ClientKey
from tests.api.test_hosts import enrol as enrol_proven
from tests.fakes.keystone import FakeKeystone

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.fixture
def limited(template, tmp_path):
    def made(**rates):
        opened = deployed(template, tmp_path, **rates)
        stack.append(opened)
        return opened.__enter__()

    stack = []
    yield made
    for opened in stack:
        opened.__exit__(None, None, None)


def challenge(deployment, user, key, **more):
    body = {"user": user, "project": "blue", "public_key": key.line}
    return deployment.call("POST", "/v2/challenges", json=body, **more)


def enrol(deployment, host, **more):
    body = {
        "authority": "blue",
        "host": host,
        "nonce": "0" * 64,
        "host_keys": [ClientKey().line],
        "mac": "0" * 64,
        "signatures": ["x"],
    }
    return deployment.call("POST", "/v2/enrolments", json=body, **more)


def test_sign_ins_are_limited_by_user(limited):
    deployment = limited(sign_in_user=2)
    for _ in range(2):
        assert challenge(deployment, "alice", ClientKey()).status_code == 201
    refused = challenge(deployment, "alice", ClientKey())
    assert (refused.status_code, refused.json["type"]) == (429, "urn:tatu:problem:too-many")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert challenge(deployment, "bob", ClientKey()).status_code == 201
    deployment.clock.move(seconds=61)
    assert challenge(deployment, "alice", ClientKey()).status_code == 201


def test_sign_ins_are_limited_by_key(limited):
    deployment = limited(sign_in_key=2)
    key = ClientKey()
    assert [challenge(deployment, f"u{n}", key).status_code for n in range(3)] == [201, 201, 429]


def test_sign_ins_are_limited_by_address(limited):
    deployment = limited(sign_in_address=2)
    found = [
        challenge(deployment, f"u{n}", ClientKey(), remote_addr="192.0.2.1").status_code
        for n in range(3)
    ]
    assert found == [201, 201, 429]
    other = challenge(deployment, "u9", ClientKey(), remote_addr="192.0.2.2")
    assert other.status_code == 201


@pytest.mark.parametrize("path", ["/v2/challenges", "/v2/tokens", "/v2/enrolments"])
def test_the_address_is_counted_before_the_body_is_read(limited, path):
    deployment = limited(sign_in_address=1, enrolment_address=1)
    statuses = [deployment.call("POST", path, body="no JSON").status_code for _ in range(2)]
    assert statuses == [415, 429]


def test_a_forwarded_address_of_nobody_we_trust_counts_for_nothing(limited):
    deployment = limited(sign_in_address=1)
    found = [
        challenge(
            deployment, f"u{n}", ClientKey(), headers={"X-Forwarded-For": f"192.0.2.{n}"}
        ).status_code
        for n in range(2)
    ]
    assert found == [201, 429]


def test_a_stranger_who_names_a_user_or_their_key_does_not_lock_them_out(limited):
    deployment = limited(sign_in_user=2, sign_in_key=2)
    key = ClientKey()
    named = [challenge(deployment, "alice", key, remote_addr="192.0.2.1") for _ in range(3)]
    assert [answer.status_code for answer in named] == [201, 201, 429]
    assert challenge(deployment, "alice", key, remote_addr="192.0.2.2").status_code == 201


def test_enrolments_are_limited_by_address(limited):
    deployment = limited(enrolment_address=2)
    found = [enrol(deployment, f"h{n}").status_code for n in range(3)]
    assert found == [403, 403, 429]


def test_a_host_is_limited_only_when_it_is_proven(limited):
    deployment = limited(enrolment_host=2)
    token, keys = deployment.admit("blue", "db")["token"], [ClientKey()]
    assert {enrol(deployment, "db").status_code for _ in range(5)} == {403}
    proven = [enrol_proven(deployment, token, keys) for _ in range(3)]
    assert [answer.status_code for answer in proven] == [201, 201, 429]


def test_denied_enrolments_of_nobody_are_counted_and_leave_the_chain_alone(limited):
    deployment = limited()
    deployment.admit("blue", "db")
    before = deployment.ledger.audit.head()
    for n in range(3):
        assert enrol(deployment, f"nobody-{n}").status_code == 403
    assert deployment.ledger.audit.head() == before
    assert enrol(deployment, "db").status_code == 403
    assert deployment.ledger.audit.head()[0] == before[0] + 1
    told = deployment.call("GET", "/metrics").text
    assert 'tatu_enrolments_denied_total{host="unknown"} 3.0' in told
    assert 'tatu_enrolments_denied_total{host="known"} 1.0' in told


def test_certificates_are_limited_by_account_and_a_batch_counts_each(limited):
    deployment = limited(certificates_account=3)
    items = [deployment.wanted(ClientKey(), "blue-member") for _ in range(3)]
    path = "/v2/authorities/blue/user-certificates"
    batch = deployment.call("POST", f"{path}/batch", "blue-member", json={"items": items})
    assert [item["status"] for item in batch.json["items"]] == [201, 201, 201]
    assert deployment.call("POST", path, "blue-member", json=items[0]).status_code == 429
    assert deployment.issue("blue-manager")["serial"] == 4


def test_revocations_are_limited_by_account(limited):
    deployment = limited(revocations_account=2)
    body = {"user": "blue-member", "reason": "lost"}
    deployment.issue("blue-member")
    path = "/v2/authorities/blue/revocations"
    found = [deployment.call("POST", path, "blue-member", json=body) for _ in range(3)]
    assert [answer.status_code for answer in found] == [200, 200, 429]
    assert deployment.call("POST", path, "blue-manager", json=body).status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("fd00::1", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("a-socket", "", "a-socket"),
    ],
)
def test_an_address_is_what_the_last_trusted_hop_saw(peer, forwarded, expected):
    environ = testing.create_environ(headers={"X-Forwarded-For": forwarded}, remote_addr=peer)
    assert expected == limits.address(Request(environ), PROXIES)


def test_a_flood_of_made_up_tokens_does_not_reach_keystone_and_stops_nobody_it_knows(limited):
    made = limited(denied_address=3)
    keystone = FakeKeystone(made.ledger.directory)
    provider = keystone.provider(made.clock, made.ledger.cut_offs)
    parts = replace(made.parts, identities=provider, administration=None, sign_in=None)
    deployment = Deployment(parts, create_app(parts), made.clock, {})

    def ask(token, address="192.0.2.1", method="GET"):
        path = "/v2/hosts" if method == "GET" else "/v2/authorities/blue"
        answer = deployment.call(
            method, path, headers={"X-Auth-Token": token}, remote_addr=address
        )
        return answer.status_code

    known = keystone.token("blue-admin", "blue")
    assert ask(known) == 200
    assert [ask(f"made-up-{number}") for number in range(3)] == [401] * 3
    assert ask("made-up-3") == 429
    before = len(keystone.asked)
    assert {ask(f"flood-{number}") for number in range(20)} == {429}
    assert len(keystone.asked) == before
    assert ask(known) == 200
    assert ask(known, method="PUT") != 429
    assert ask("made-up", address="192.0.2.2") == 401
    made.clock.move(seconds=61)
    assert ask("made-up") == 401


def test_who_brings_no_token_at_all_is_not_counted(limited):
    made = limited(denied_address=1)
    assert {made.call("GET", "/v2/hosts").status_code for _ in range(5)} == {401}
