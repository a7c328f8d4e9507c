"""User certificates over HTTP: asked for, listed, shown, revoked."""

import json
import subprocess
from urllib.parse import quote

import pytest

from tatu.core.certificate import Certificate
from tests.api.deployment import deployed
from tests.api.keys import ClientKey

PATH = "/v2/authorities/blue/user-certificates"
REVOCATIONS = "/v2/authorities/blue/revocations"


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


def revoke(deployment, caller, **what):
    return deployment.call("POST", REVOCATIONS, caller, json={"reason": "lost", **what})


def status(deployment, serial):
    path = f"/v2/authorities/blue/certificates/{serial}/status"
    return deployment.call("GET", path, "blue-reader").json["status"]


def test_ssh_keygen_reads_what_was_answered(deployment, tmp_path):
    answer = deployment.issue(validity=600)
    file = tmp_path / "id-cert.pub"
    file.write_text(answer["certificate"])
    command = ["ssh-keygen", "-L", "-f", file]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert f'Key ID: "{answer["key_id"]}"' in shown
    assert f"Serial: {answer['serial']}" in shown
    assert f"Signing CA: ED25519 {answer['signature_key']}" in shown
    assert Certificate.parse(answer["certificate"]).contents.principals == ("member",)
    assert answer["left_out"] == []


def test_what_is_shown_later_is_what_was_answered(deployment):
    answer = deployment.issue()
    shown = deployment.call("GET", f"{PATH}/{answer['serial']}", "blue-member").json
    assert shown == {name: value for name, value in answer.items() if name != "left_out"}
    (listed,) = deployment.call("GET", "/v2/user-certificates", "blue-member").json["items"]
    assert listed == {name: value for name, value in shown.items() if name != "certificate"}


def test_a_proof_of_another_request_is_refused(deployment):
    key = ClientKey()
    body = deployment.wanted(key, "blue-member") | {"validity": 60}
    assert deployment.call("POST", PATH, "blue-member", json=body).status_code == 403


def test_a_reader_has_no_account_and_is_told_why(deployment):
    body = deployment.wanted(ClientKey(), "blue-reader")
    assert deployment.call("POST", PATH, "blue-reader", json=body).status_code == 403


@pytest.mark.parametrize(
    ("user", "status", "facts"),
    [("blue-reader", 403, {}), ("red-manager", 404, {"wanted": "blue"})],
)
def test_who_may_not_ask_is_written_down(deployment, user, status, facts):
    body = deployment.wanted(ClientKey(), user)
    assert deployment.call("POST", PATH, user, json=body).status_code == status

    def denials(reader):
        found = deployment.call("GET", "/v2/audit-events?after=0&limit=1000", reader).json
        told = [json.loads(item["body"]) for item in found["items"]]
        return [event for event in told if event["action"] == "request.denied"]

    (denied,) = denials("red-admin")
    assert (denied["actor"]["id"], denied["subject"]) == (user, "certificates.create")
    assert denied["facts"] == {"rule": "tatu:user_certificates:create", **facts}
    assert bool(denials("blue-manager")) == (user == "blue-reader")
    assert denials("red-manager") == []


def test_an_administrator_elsewhere_gets_no_certificate_here(deployment):
    body = deployment.wanted(ClientKey(), "red-admin")
    answer = deployment.call("POST", PATH, "red-admin", json=body)
    assert (answer.status_code, "not scoped" in answer.json["detail"]) == (403, True)


def test_each_of_a_batch_stands_for_itself(deployment):
    good, bad, unread = (deployment.wanted(ClientKey(), "blue-member") for _ in range(3))
    bad["proof"] = good["proof"]
    unread["public_key"] = "ssh-ed25519 AAAA"
    items = [unread, bad, good]
    answer = deployment.call("POST", f"{PATH}/batch", "blue-member", json={"items": items})
    malformed, refused, issued = answer.json["items"]
    assert [item["status"] for item in answer.json["items"]] == [400, 403, 201]
    assert malformed["problem"]["type"] == "urn:tatu:problem:malformed"
    assert refused["problem"]["type"] == "urn:tatu:problem:denied"
    assert status(deployment, issued["certificate"]["serial"]) == "valid"


def test_members_see_their_own_managers_the_projects_administrators_all(deployment):
    own = deployment.issue("blue-member")["serial"]
    others = deployment.issue("blue-manager")["serial"]
    deployment.issue("red-member", "red")

    def seen(user):
        items = deployment.call("GET", "/v2/user-certificates", user).json["items"]
        return {(item["authority"], item["serial"]) for item in items}

    assert seen("blue-member") == {("blue", own)}
    assert seen("blue-manager") == {("blue", own), ("blue", others)}
    assert seen("red-admin") == {("blue", own), ("blue", others), ("red", 1)}
    foreign = deployment.call("GET", f"{PATH}/{others}", "blue-member")
    absent = deployment.call("GET", f"{PATH}/999", "blue-member")
    assert (foreign.status_code, absent.status_code) == (404, 404)
    assert foreign.json["detail"].replace(str(others), "999") == absent.json["detail"]


def test_lists_come_in_parts_that_join_up(deployment):
    serials = [deployment.issue()["serial"] for _ in range(5)]
    found, path = [], "/v2/user-certificates?limit=2&live=true"
    while path:
        answer = deployment.call("GET", path, "blue-member").json
        assert len(answer["items"]) <= 2
        found += [item["serial"] for item in answer["items"]]
        path = answer["links"].get("next", "").removeprefix("https://tatu.example")
    assert found == serials[::-1]


def test_filters_narrow(deployment):
    first, second = deployment.issue(validity=60), deployment.issue("blue-manager", validity=60)
    revoke(deployment, "blue-manager", serial=first["serial"])

    def found(query):
        items = deployment.call("GET", f"/v2/user-certificates?{query}", "blue-manager").json
        return [item["serial"] for item in items["items"]]

    assert found("revoked=true") == [first["serial"]]
    assert found("revoked=false") == [second["serial"]]
    assert found("subject=blue-manager") == [second["serial"]]
    assert found(f"serial={first['serial']}") == [first["serial"]]
    assert found(f"subject_key={quote(second['subject_key'])}") == [second["serial"]]
    deployment.clock.move(minutes=2)
    assert found("live=true") == []


def test_a_status_follows_the_certificate(deployment):
    serial = deployment.issue(validity=60)["serial"]
    other = deployment.issue(validity=60)["serial"]
    assert status(deployment, serial) == "valid"
    revoke(deployment, "blue-member", serial=serial)
    assert status(deployment, serial) == "revoked"
    deployment.clock.move(minutes=2)
    assert (status(deployment, serial), status(deployment, other)) == ("revoked", "expired")


def test_members_revoke_their_own_by_serial_and_by_key(deployment):
    first, second = deployment.issue(), deployment.issue()
    assert revoke(deployment, "blue-member", serial=first["serial"]).json["revoked"] == [
        first["serial"]
    ]
    answer = revoke(deployment, "blue-member", subject_key=second["subject_key"])
    assert answer.json["revoked"] == [second["serial"]]
    again = revoke(deployment, "blue-member", serial=first["serial"])
    assert (again.status_code, again.json["revoked"]) == (200, [])


def test_members_revoke_nothing_of_others(deployment):
    others = deployment.issue("blue-manager")
    foreign = revoke(deployment, "blue-member", serial=others["serial"])
    absent = revoke(deployment, "blue-member", serial=999)
    assert (foreign.status_code, absent.status_code) == (404, 404)
    assert revoke(deployment, "blue-member", subject_key=others["subject_key"]).status_code == 404
    for what in ({"user": "blue-manager"}, {"everything": True}, {"host": "db"}):
        assert revoke(deployment, "blue-member", **what).status_code == 403
    assert status(deployment, others["serial"]) == "valid"


def test_members_block_nobody(deployment):
    own = deployment.issue()
    what = {"subject_key": own["subject_key"], "block": True}
    assert revoke(deployment, "blue-member", **what).status_code == 403


def test_somebody_elses_certificate_for_the_same_key_lives_on(deployment):
    """Else whoever knows a public key could end its holder's access (security.md S6)."""
    key = ClientKey()
    serials = {
        user: deployment.call("POST", PATH, user, json=deployment.wanted(key, user)).json["serial"]
        for user in ("blue-member", "blue-manager")
    }
    what = {"subject_key": key.public.fingerprint}
    assert revoke(deployment, "blue-member", **what).json["revoked"] == [serials["blue-member"]]
    assert status(deployment, serials["blue-manager"]) == "valid"


def test_only_administrators_block_a_key_and_only_they_lift_it(deployment):
    key = ClientKey()
    body = deployment.wanted(key, "blue-member")
    deployment.call("POST", PATH, "blue-member", json=body)
    what = {"subject_key": key.public.fingerprint, "block": True}
    assert revoke(deployment, "blue-manager", **what).status_code == 403
    assert revoke(deployment, "blue-admin", **what).status_code == 200
    assert deployment.call("POST", PATH, "blue-member", json=body).status_code == 403
    path = "/v2/authorities/blue/blocks"
    (block,) = deployment.call("GET", path, "blue-manager").json["items"]
    assert block["value"] == key.public.fingerprint
    assert deployment.call("DELETE", f"{path}/{block['id']}", "blue-manager").status_code == 403
    assert deployment.call("DELETE", f"{path}/{block['id']}", "blue-admin").status_code == 204
    assert deployment.call("POST", PATH, "blue-member", json=body).status_code == 201


def test_managers_revoke_a_user_and_everything(deployment):
    first, second = deployment.issue()["serial"], deployment.issue("blue-manager")["serial"]
    assert revoke(deployment, "blue-manager", user="blue-member").json["revoked"] == [first]
    assert revoke(deployment, "blue-manager", everything=True).json["revoked"] == [second]


def blocked(deployment):
    path = "/v2/authorities/blue/blocks"
    items = deployment.call("GET", path, "blue-manager").json["items"]
    return {(block["kind"], block["value"]) for block in items}


def test_a_user_whom_a_manager_revokes_gets_nothing_until_the_block_is_lifted(deployment):
    deployment.issue()
    revoke(deployment, "blue-manager", user="blue-member")
    body = deployment.wanted(ClientKey(), "blue-member")
    assert deployment.call("POST", PATH, "blue-member", json=body).status_code == 403
    assert blocked(deployment) == {("user", "blue-member")}


def test_a_key_that_an_administrator_revokes_is_blocked_a_managers_is_not(deployment):
    key = deployment.issue()["subject_key"]
    revoke(deployment, "blue-manager", subject_key=key)
    assert blocked(deployment) == set()
    revoke(deployment, "blue-admin", subject_key=key)
    assert blocked(deployment) == {("subject-key", key)}


def test_a_host_that_a_manager_revokes_is_blocked(deployment):
    deployment.admit("blue", "db")
    revoke(deployment, "blue-manager", host="db")
    assert blocked(deployment) == {("host", "db")}


def test_nothing_is_blocked_when_that_is_asked_for_or_what_is_revoked_is_ones_own(deployment):
    deployment.issue()
    revoke(deployment, "blue-manager", user="blue-member", block=False)
    revoke(deployment, "blue-member", user="blue-member")
    revoke(deployment, "blue-member", subject_key=deployment.issue()["subject_key"])
    assert blocked(deployment) == set()


def test_a_mistyped_user_is_blocked_only_when_that_is_asked_for(deployment):
    assert revoke(deployment, "blue-manager", user="blue-membr").status_code == 404
    assert blocked(deployment) == set()
    assert revoke(deployment, "blue-manager", user="thief", block=True).status_code == 200
    assert blocked(deployment) == {("user", "thief")}


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"serial": 1, "user": "a"},
        {"everything": False},
        {"serial": 1, "block": True},
        {"everything": True, "block": True},
    ],
)
def test_a_revocation_names_exactly_one_thing(deployment, what):
    assert revoke(deployment, "blue-admin", **what).status_code == 400
