"""The embedded directory and the authorities over HTTP, as administrators use them."""

import pytest

from tests.api.deployment import deployed
from tests.api.keys import ClientKey


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


@pytest.fixture
def ask(deployment):
    def asked(method, path, json=None, user="blue-admin"):
        return deployment.call(method, f"/v2{path}", user, fresh=True, json=json)

    return asked


@pytest.mark.parametrize("noun", ["projects", "users", "groups", "roles"])
def test_a_noun_is_made_shown_listed_and_deleted(ask, noun):
    made = ask("POST", f"/{noun}", {"name": "Carol's"})
    assert made.status_code == 201, made.text
    path = f"/{noun}/{made.json['id']}"
    assert ask("GET", path).json == made.json
    assert ask("GET", f"/{noun}/Carol's").json == made.json
    assert made.json in ask("GET", f"/{noun}").json["items"]
    assert ask("POST", f"/{noun}", {"name": "Carol's"}).status_code == 409
    assert ask("DELETE", path).status_code == 204
    assert ask("GET", path).status_code == 404


@pytest.mark.parametrize("noun", ["projects", "users"])
def test_what_is_disabled_says_so(ask, noun):
    ask("POST", f"/{noun}", {"id": "x", "name": "x"})
    assert ask("PATCH", f"/{noun}/x", {"enabled": False}).json["enabled"] is False
    assert ask("GET", f"/{noun}/x").json["enabled"] is False
    assert ask("PATCH", f"/{noun}/none", {"enabled": False}).status_code == 404


def test_a_user_sees_to_their_own_keys(deployment, ask):
    key = ClientKey()
    path = "/users/blue-member/keys"
    body = {"public_key": f"{key.line} alice@laptop"}
    added = ask("POST", path, body, user="blue-member")
    assert (added.status_code, added.json["public_key"]) == (201, key.line)
    assert added.json in ask("GET", path, user="blue-member").json["items"]
    assert ask("POST", "/users/blue-manager/keys", body).status_code == 409
    target = f"{path}/{added.json['fingerprint'].replace('/', '%2F')}"
    assert ask("DELETE", target, user="blue-member").status_code == 204
    assert added.json not in ask("GET", path, user="blue-member").json["items"]


def test_a_certified_key_becomes_no_sign_in_key(deployment, ask):
    key = ClientKey()
    body = deployment.wanted(key, "blue-member")
    deployment.call("POST", "/v2/authorities/blue/user-certificates", "blue-member", json=body)
    refused = ask("POST", "/users/blue-member/keys", {"public_key": key.line}, user="blue-member")
    assert refused.status_code == 409


def test_a_role_by_a_group_comes_and_goes_with_its_certificates(deployment, ask):
    ask("POST", "/groups", {"id": "ops", "name": "ops"})
    ask("POST", "/roles", {"id": "r-dba", "name": "dba"})
    assert ask("PUT", "/groups/ops/members/blue-member").status_code == 204
    given = {"project": "blue", "role": "r-dba", "group": "ops"}
    assert ask("POST", "/assignments", given).status_code == 201
    assert given in ask("GET", "/assignments?group=ops").json["items"]
    assert [m["id"] for m in ask("GET", "/groups/ops/members").json["items"]] == ["blue-member"]
    issued = deployment.issue("blue-member")
    assert issued["principals"] == ["dba", "member"]
    assert ask("DELETE", "/groups/ops/members/blue-member").status_code == 204
    path = f"/authorities/blue/certificates/{issued['serial']}/status"
    assert ask("GET", path).json["status"] == "revoked"
    assert ask("POST", "/assignments/removals", given).status_code == 204
    assert ask("POST", "/assignments/removals", given).status_code == 404


@pytest.mark.parametrize("holder", [{}, {"user": "a", "group": "b"}])
def test_a_role_is_held_by_a_user_or_a_group(ask, holder):
    body = {"project": "blue", "role": "r-member", **holder}
    assert ask("POST", "/assignments", body).status_code == 400


def test_roles_say_which_account_they_open(ask):
    ask("POST", "/roles", {"name": "root"})
    found = {role["name"]: role for role in ask("GET", "/roles", user="blue-reader").json["items"]}
    assert found["member"]["account"] == "member"
    assert "reserved" in found["root"]["refusal"]


def test_a_project_gets_one_authority(ask):
    ask("POST", "/projects", {"id": "green", "name": "Green"})
    made = ask("POST", "/authorities", {"project": "green"})
    assert (made.status_code, made.json["name"]) == (201, "Green")
    assert {key["purpose"] for key in made.json["keys"]} == {"user", "host", "statement"}
    assert all("reference" not in key for key in made.json["keys"])
    assert ask("POST", "/authorities", {"project": "green"}).status_code == 409
    assert ask("POST", "/authorities", {"project": "none"}).status_code == 404


def test_a_manager_makes_no_authority_elsewhere(ask):
    foreign = ask("POST", "/authorities", {"project": "red"}, user="blue-manager")
    absent = ask("POST", "/authorities", {"project": "none"}, user="blue-manager")
    assert (foreign.status_code, absent.status_code) == (404, 404)


def test_only_the_limits_that_are_named_change(ask):
    before = ask("GET", "/authorities/blue").json
    change = {"profile": {"user_validity": 3600, "source_addresses": ["192.0.2.0/24"]}}
    after = ask("PATCH", "/authorities/blue", change, user="blue-manager")
    assert after.status_code == 200, after.text
    assert after.json["profile"] == before["profile"] | change["profile"]
    assert after.json["revision"] > before["revision"]


def test_only_administrators_change_the_names_that_an_authority_speaks_for(ask):
    suffix = ask("GET", "/authorities/blue").json["profile"]["dns_suffix"]
    for taken in ("github.com", "cloud.example"):
        change = {"profile": {"dns_suffix": taken}}
        refused = ask("PATCH", "/authorities/blue", change, user="blue-manager")
        assert (refused.status_code, refused.json["type"].split(":")[-1]) == (403, "denied")
    same = {"profile": {"dns_suffix": suffix, "user_validity": 3600}}
    assert ask("PATCH", "/authorities/blue", same, user="blue-manager").status_code == 200
    changed = ask("PATCH", "/authorities/blue", {"profile": {"dns_suffix": "blue.example"}})
    assert changed.json["profile"]["dns_suffix"] == "blue.example"


@pytest.mark.parametrize(
    "profile",
    [
        {"source_addresses": ["192.0.2.1/24"]},
        {"source_addresses": ["nonsense"]},
        {"extensions": ["no-touch-required"]},
        {"extensions": ["permit-agent-forwarding"]},
        {"dns_suffix": "com"},
        {"dns_suffix": "*.example.org"},
        {"user_validity": 0},
        {"user_validity": 90_000},
        {"host_validity": 31 * 86_400},
    ],
)
def test_a_limit_that_is_none_is_refused(ask, profile):
    assert ask("PATCH", "/authorities/blue", {"profile": profile}).status_code == 400


def test_only_administrators_let_a_key_sign_at_once(ask):
    added = ask("POST", "/authorities/blue/keys", {"purpose": "statement"}, user="blue-manager")
    (fresh,) = (key for key in added.json["keys"] if key["state"] == "next")
    path = f"/authorities/blue/keys/{fresh['fingerprint'].replace('/', '%2F')}"
    early = ask("PATCH", path, {"state": "active"}, user="blue-manager")
    assert early.status_code == 409
    assert "wait" in early.json["detail"]
    at_once = {"state": "active", "at_once": True}
    assert ask("PATCH", path, at_once, user="blue-manager").status_code == 403
    assert ask("PATCH", path, at_once).status_code == 200


def test_keys_are_turned_over(ask, deployment):
    added = ask("POST", "/authorities/blue/keys", {"purpose": "user"}, user="blue-manager")
    assert added.status_code == 201
    (fresh,) = (key for key in added.json["keys"] if key["state"] == "next")
    path = f"/authorities/blue/keys/{fresh['fingerprint'].replace('/', '%2F')}"
    deployment.clock.move(minutes=30)
    turned = ask("PATCH", path, {"state": "active"}, user="blue-manager").json["keys"]
    states = {key["fingerprint"]: key["state"] for key in turned if key["purpose"] == "user"}
    assert sorted(states.values()) == ["active", "retired"]
    (old,) = (name for name, state in states.items() if state == "retired")
    path = f"/authorities/blue/keys/{old.replace('/', '%2F')}"
    revoke = {"state": "retired", "revoked": True}
    assert ask("PATCH", path, revoke, user="blue-manager").status_code == 403
    assert ask("PATCH", path, revoke).status_code == 200
    published = ask("GET", "/authorities/blue/public-keys").json["keys"]
    assert old not in {key["fingerprint"] for key in published}


def test_the_audit_chain_tells_who_did_it(deployment, ask):
    ask("POST", "/users", {"id": "carol", "name": "carol"})
    path, events = "/audit-events?limit=50", []
    while path:
        page = ask("GET", path).json
        events += page["items"]
        path = page["links"].get("next", "").removeprefix("https://tatu.example/v2")
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert any(
        '"user.created"' in event["body"] and "blue-admin" in event["body"] for event in events
    )
