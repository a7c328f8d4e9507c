"""What hosts tell: receipts, reports, logins; and what people see of it (security.md S3, S19)."""

import json
import subprocess
from datetime import UTC, datetime

import pytest

from tatu.agent import sessions
from tatu.agent.doctor import Finding
from tatu.core import statement
from tatu.core.certificate import Certificate
from tatu.core.errors import RolledBack
from tatu.core.sshsig import Namespace
from tests.api.deployment import deployed
from tests.api.host import SigningHost
from tests.api.keys import ClientKey

BLUE = "/v2/authorities/blue"
STRANGE = "SHA256:" + "A" * 43


@pytest.fixture
def deployment(template, tmp_path):
    with deployed(template, tmp_path) as made:
        yield made


@pytest.fixture
def host(deployment):
    return SigningHost(deployment)


def newest(deployment, authority="blue"):
    """Return the receipt of whoever obeys the newest statement."""
    served = deployment.call("GET", f"/v2/authorities/{authority}/statement").json
    told = statement.decode(served["statement"].encode())
    return {
        "statement_version": told.version,
        "krl_version": told.krl_version,
        "krl_digest": told.krl_digest,
        "at": stamp(deployment.clock()),
    }


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def login(deployment, certificate=None, **more):
    """Return an event; `certificate` is what the API answered to whoever asked for one."""
    told = certificate and {
        name: certificate[name] for name in ("serial", "key_id", "subject_key", "signature_key")
    }
    return {
        "id": "e1",
        "at": stamp(deployment.clock()),
        "kind": "accepted",
        "account": "member",
        "source": "192.0.2.9",
        **(told or {}),
        **more,
    }


def tell(host, *events, lost=0):
    answer = host.call("POST", "logins", {"events": list(events), "lost": lost})
    assert answer.status_code == 200, answer.text
    return answer.json["stored"]


def logins(deployment, user="blue-manager", **asked):
    answer = deployment.call("GET", "/v2/logins", user, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json["items"]


def audited(deployment, action, authority="blue"):
    answer = deployment.call("GET", "/v2/audit-events?limit=1000", f"{authority}-manager")
    bodies = [json.loads(item["body"]) for item in answer.json["items"]]
    return [body for body in bodies if body["action"] == action]


# --- receipts


def test_who_has_shown_to_obey_a_revocation_is_counted_and_who_has_not_comes_first(deployment):
    hosts = [SigningHost(deployment, name) for name in ("a", "b", "c")]
    deployment.admit("blue", "not-enrolled")
    old = newest(deployment)
    for host in hosts:
        assert host.call("PUT", "receipt", old).json == {"renewal_due": False}
    serial = deployment.issue()["serial"]
    revoked = deployment.call(
        "POST", f"{BLUE}/revocations", "blue-manager", json={"serial": serial, "reason": "lost"}
    ).json
    path = f"{BLUE}/receipts?at_least={revoked['krl_version']}"
    seen = deployment.call("GET", path, "blue-reader").json
    assert (seen["at_least"], seen["hosts"], seen["done"]) == (revoked["krl_version"], 3, 0)
    hosts[1].call("PUT", "receipt", newest(deployment))
    seen = deployment.call("GET", path, "blue-reader").json
    assert (seen["hosts"], seen["done"]) == (3, 1)
    assert [(each["host"], each["done"]) for each in seen["items"]] == [
        ("a", False),
        ("c", False),
        ("b", True),
    ]
    assert "proof" not in seen["items"][0]["receipt"]
    page = deployment.call("GET", f"{path}&limit=2", "blue-reader").json
    rest = deployment.call("GET", page["links"]["next"].partition(".example")[2], "blue-reader")
    assert [each["host"] for each in rest.json["items"]] == ["b"]
    newest_alone = deployment.call("GET", f"{BLUE}/receipts", "blue-reader").json
    assert (newest_alone["at_least"], newest_alone["done"]) == (revoked["krl_version"], 1)


def test_a_host_that_was_admitted_again_is_among_those_that_have_not_obeyed(deployment, host):
    host.call("PUT", "receipt", newest(deployment))
    before = deployment.call("GET", f"{BLUE}/receipts", "blue-reader").json
    assert (before["hosts"], before["done"]) == (1, 1)
    deployment.admit("blue", host.host)
    seen = deployment.call("GET", f"{BLUE}/receipts", "blue-reader").json
    assert (seen["hosts"], seen["done"]) == (1, 0)
    (item,) = seen["items"]
    since = {"not_enrolled_since": item["not_enrolled_since"]}
    assert item == {"host": host.host, "done": False, **since}


def test_a_receipt_says_whether_the_certificate_is_to_be_renewed(deployment, host):
    bound = {"names": (), "addresses": ("192.0.2.8",), "event": deployment.event()}
    deployment.ledger.hosts.rebind("blue", host.host, **bound)
    assert host.call("PUT", "receipt", newest(deployment)).json == {"renewal_due": True}


def test_a_receipt_is_kept_with_what_proves_it_to_anybody(deployment, host, tmp_path):
    receipt = newest(deployment)
    assert host.call("PUT", "receipt", receipt).status_code == 200
    shown = deployment.call("GET", f"{host.path}/receipt", "blue-reader").json
    assert shown["krl_digest"] == receipt["krl_digest"]
    proof = shown["proof"]
    assert json.loads(proof["body"]) == receipt
    (tmp_path / "signers").write_text(f'db-1 namespaces="host@tatu" {host.keys[0].line}\n')
    (tmp_path / "signature").write_text(proof["signature"])
    verify = ["-Y", "verify", "-f", "signers", "-I", "db-1", "-n", "host@tatu", "-s", "signature"]
    subprocess.run(
        ["ssh-keygen", *verify],
        input=proof["message"].encode(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_a_receipt_for_what_was_never_stated_is_refused_and_stops_nobody(deployment, host):
    """Whoever has a host must not keep its project from getting certificates."""
    receipt = newest(deployment)
    for lie, status in (
        ({"statement_version": receipt["statement_version"] + 1}, 409),
        ({"statement_version": 2**63 - 1, "krl_version": 2**63 - 1}, 409),
        ({"krl_version": receipt["krl_version"] + 1}, 409),
        ({"krl_digest": "sha256:" + "0" * 64}, 409),
        ({"statement_version": 1, "krl_version": receipt["krl_version"] + 1}, 409),
        ({"statement": "{}"}, 400),
        ({"statement_version": 0}, 400),
        ({"krl_digest": "md5:0"}, 400),
        ({"at": "9999-12-31T23:59:59-23:59"}, 400),
        ({"at": "0001-01-01T00:00:00+23:59"}, 400),
        ({"at": "2026-01-01T00:00:00"}, 400),
    ):
        assert host.call("PUT", "receipt", receipt | lie).status_code == status, lie
    assert deployment.call("GET", f"{host.path}/receipt", "blue-reader").status_code == 404
    deployment.issue()
    assert {each["subject"] for each in audited(deployment, "receipt.unknown-statement")} == {
        "db-1"
    }


def test_a_statement_that_only_a_host_still_has_stops_signing(deployment, host):
    """S3: the database and the marks beside it are older than what hosts obey."""
    served = deployment.call("GET", f"{BLUE}/statement").json
    told = statement.decode(served["statement"].encode())
    receipt = newest(deployment)
    _forget_publications(deployment)
    forged = ClientKey().sign(Namespace.STATEMENT, served["statement"].encode())
    for shown in ({}, {"statement": served["statement"], "signature": forged}):
        assert host.call("PUT", "receipt", receipt | shown).status_code == 409
    deployment.issue()
    shown = {"statement": served["statement"], "signature": served["signature"]}
    other = receipt | {"statement_version": told.version + 1} | shown
    assert host.call("PUT", "receipt", other).status_code == 409
    answer = host.call("PUT", "receipt", receipt | shown)
    assert answer.status_code == 503
    assert "ledger rolled back" in answer.json["detail"]
    key = ClientKey()
    body = deployment.wanted(key, "blue-member")
    refused = deployment.call("POST", f"{BLUE}/user-certificates", "blue-member", json=body)
    assert refused.status_code == 503
    assert "ledger rolled back" in refused.json["detail"]
    with pytest.raises(RolledBack):
        deployment.parts.statements.newest("blue")
    (event,) = audited(deployment, "receipt.lost-statement")
    assert event["facts"]["statement_version"] == told.version


def _forget_publications(deployment):
    """Leave the database, and the marks, as they were before anything was published."""
    from tatu.store.tables import krls, publications  # noqa: PLC0415 - of this test alone

    ledger = deployment.ledger
    for table in (publications, krls):
        ledger._database.write(lambda connection, table=table: connection.execute(table.delete()))
    ledger._high_water._path.write_text("{}")


# --- reports


def report(**more):
    return {
        "agent_version": "1.0",
        "openssh": "OpenSSH_9.2p1",
        "os": "Debian GNU/Linux 12",
        "findings": [],
        "sessions": [],
        **more,
    }


def session(certificate, **more):
    told = {name: certificate[name] for name in ("serial", "key_id", "subject_key")}
    return {
        "id": 7,
        "account": "member",
        "since": "2026-01-01T00:00:00Z",
        "source": "192.0.2.9",
        "signature_key": certificate["signature_key"],
        **told,
        **more,
    }


def test_a_host_is_shown_with_what_it_told_last(deployment, host):
    assert "report" not in deployment.call("GET", host.path, "blue-reader").json
    finding = {"level": "warning", "about": "keys", "detail": "a key of root's"}
    told = report(findings=[finding], sessions=[session(deployment.issue())])
    assert host.call("PUT", "report", told).status_code == 204
    host.call("PUT", "receipt", newest(deployment))
    shown = deployment.call("GET", host.path, "blue-reader").json
    assert shown["report"]["findings"] == [finding]
    assert (shown["report"]["sessions"], shown["report"]["agent_version"]) == (1, "1.0")
    assert shown["receipt"]["krl_version"] == newest(deployment)["krl_version"]
    listed = deployment.call("GET", "/v2/hosts", "blue-reader").json["items"]
    assert "report" not in listed[0]


def test_sessions_are_named_by_the_ledger_and_not_by_the_host(deployment, host):
    mine = deployment.issue()
    forged = session(mine, id=8, subject_key=STRANGE)
    path = f"{host.path}/sessions"
    assert deployment.call("GET", path, "blue-manager").json["items"] == []
    host.call("PUT", "report", report(sessions=[session(mine), forged]))
    shown = deployment.call("GET", path, "blue-manager").json
    assert [(each["id"], each.get("user_name"), each.get("alarm")) for each in shown["items"]] == [
        (7, "blue-member-name", None),
        (8, None, "other subject key"),
    ]
    assert "received_at" in shown
    assert deployment.call("GET", path, "blue-member").status_code == 403
    assert deployment.call("GET", path, "red-manager").status_code == 404


# --- logins


def test_a_login_is_joined_with_the_certificate_and_told_once(deployment, host):
    mine = deployment.issue()
    assert tell(host, login(deployment, mine)) == 1
    assert tell(host, login(deployment, mine)) == 0
    (found,) = logins(deployment)
    assert (found["user_name"], found["serial"], found["host"]) == (
        "blue-member-name",
        mine["serial"],
        "db-1",
    )
    assert "alarm" not in found
    assert audited(deployment, "login.mismatch") == []


FORGED = [
    ({"subject_key": STRANGE}, "other subject key"),
    ({"signature_key": STRANGE}, "other signature key"),
    ({"key_id": "somebody"}, "other key ID"),
    ({"serial": 999_999}, "unknown serial"),
    ({"serial": 0}, "unknown serial"),
    ({"serial": 2**64 - 1, "kind": "sudo-accepted"}, "unknown serial"),
]


def test_a_forged_certificate_is_an_alarm_and_revokes_nothing(deployment, host):
    """A live serial and its key ID do not make a certificate ours."""
    mine = deployment.issue()
    for number, (forged, _) in enumerate(FORGED):
        tell(host, login(deployment, mine, id=str(number), **forged))
    whys = [why for _, why in FORGED]
    found = logins(deployment, alarm="true")
    assert [each["alarm"] for each in reversed(found)] == whys
    assert not any("user_name" in each for each in found)
    events = audited(deployment, "login.mismatch")
    assert [event["facts"]["why"] for event in events] == whys
    assert {
        (event["authority"], event["subject"], event["actor"]["kind"]) for event in events
    } == {("blue", "db-1", "host")}
    path = f"{BLUE}/certificates/{mine['serial']}/status"
    assert deployment.call("GET", path, "blue-reader").json["status"] == "valid"


def test_a_host_certificate_lets_nobody_in(deployment, host):
    line = Certificate.parse(host.certificates[0])
    serial = line.contents.serial
    found = deployment.call("GET", f"{BLUE}/host-certificates/{serial}", "blue-reader").json
    tell(host, login(deployment, found))
    assert logins(deployment)[0]["alarm"] == "host certificate"


def test_who_was_refused_is_no_alarm(deployment, host):
    mine = deployment.issue()
    strange = {"subject_key": STRANGE, "serial": 999}
    tell(
        host,
        login(deployment, mine, kind="refused", **strange),
        login(deployment, id="e2", kind="accepted", account="debian"),
        login(deployment, mine, id="e3", kind="ended"),
    )
    assert logins(deployment, alarm="true") == []
    assert len(logins(deployment, alarm="false")) == 3


def test_a_login_after_the_revocation_is_an_alarm_and_one_before_is_not(deployment, host):
    mine = deployment.issue()
    before = login(deployment, mine, id="before")
    deployment.clock.move(seconds=5)
    deployment.call(
        "POST",
        f"{BLUE}/revocations",
        "blue-manager",
        json={"serial": mine["serial"], "reason": "lost"},
    )
    deployment.clock.move(seconds=5)
    tell(host, before, login(deployment, mine, id="after"))
    assert [(each["id"], each.get("alarm")) for each in logins(deployment)] == [
        ("after", "revoked before"),
        ("before", None),
    ]
    assert len(audited(deployment, "login.mismatch")) == 1


def test_a_host_of_another_project_names_nobody_of_this_one(deployment):
    """Serials are those of its own authority, and so are those who read of it."""
    mine = deployment.issue()
    foreign = SigningHost(deployment, "evil", authority="red")
    tell(foreign, login(deployment, mine))
    assert logins(deployment) == []
    (found,) = logins(deployment, "red-manager")
    assert "alarm" in found
    assert "user_name" not in found
    assert audited(deployment, "login.mismatch") == []
    assert len(audited(deployment, "login.mismatch", "red")) == 1


def test_a_host_that_cries_wolf_fills_neither_the_chain_nor_other_hosts_place(deployment, host):
    other = SigningHost(deployment, "db-2")
    for number in range(3):
        events = [
            login(deployment, deployment.issue() if each == 0 else None, id=f"{number}-{each}")
            | {"serial": 999, "key_id": "x", "subject_key": STRANGE, "signature_key": STRANGE}
            for each in range(10)
        ]
        assert tell(host, *events) == 10
    assert len(audited(deployment, "login.mismatch")) == 10
    assert len(logins(deployment, alarm="true")) == 30
    mine = deployment.issue()
    tell(other, login(deployment, mine, serial=999))
    assert len(audited(deployment, "login.mismatch")) == 11


def test_a_host_tells_so_often_and_another_one_as_often(template, tmp_path):
    with deployed(template, tmp_path, reports_host=2) as made:
        host, other = SigningHost(made), SigningHost(made, "db-2")
        for number in range(2):
            tell(host, login(made, id=str(number)))
        assert host.call("POST", "logins", {"events": []}).status_code == 429
        tell(other, login(made))
        for status in (204, 204, 429):
            assert host.call("PUT", "report", report()).status_code == status
        made.clock.move(minutes=1)
        tell(host, login(made, id="2"))


def test_events_that_were_lost_are_counted_once(deployment, host):
    event = login(deployment, deployment.issue())
    for _ in range(2):
        tell(host, event, lost=7)
    (lost,) = logins(deployment, kind="lost")
    assert lost["detail"] == "7 events"
    tell(host, lost=2)
    assert len(logins(deployment, kind="lost")) == 2


BAD = [
    {"key_id": "alice\nAccepted publickey for root"},
    {"key_id": "\u001b[2J"},
    {"key_id": "a\u0000b"},
    {"key_id": "\u0085"},
    {"key_id": "x" * 256},
    {"account": "root\r"},
    {"detail": "\u007f"},
    {"source": "\n"},
    {"id": "../../etc"},
    {"id": ""},
    {"id": "x" * 65},
    {"id": "x\n"},
    {"kind": "lost"},
    {"kind": "revoked"},
    {"serial": -1},
    {"serial": 2**64},
    {"serial": "1"},
    {"at": "yesterday"},
    {"at": "1970-01-01T00:00:00Z"},
    {"subject": "blue-admin"},
    {"user_name": "somebody else"},
    {"serial": None},
]


def test_what_could_pass_for_something_else_is_refused_at_the_door(deployment, host):
    event = login(deployment, deployment.issue())
    for bad in BAD:
        answer = host.call("POST", "logins", {"events": [event, {**event, "id": "2", **bad}]})
        assert answer.status_code == 400, bad
    assert logins(deployment) == []


def test_what_is_too_much_is_refused_at_the_door(deployment, host):
    event = login(deployment)
    events = [event | {"id": str(number)} for number in range(101)]
    assert host.call("POST", "logins", {"events": events}).status_code == 400
    findings = [{"level": "info", "about": "a", "detail": "b"}]
    assert host.call("PUT", "report", report(findings=findings * 201)).status_code == 400
    open_ones = [session(deployment.issue())] * 1001
    assert host.call("PUT", "report", report(sessions=open_ones)).status_code == 400
    assert (
        host.call("PUT", "report", report(findings=[{**findings[0], "level": "bad"}])).status_code
        == 400
    )
    assert host.call("PUT", "report", report(os="x\u001b[0m")).status_code == 400


def test_as_much_as_the_contract_allows_is_taken_and_shown(deployment, host):
    """Also for whoever hides among a thousand sessions of their own."""
    mine = deployment.issue()
    told = [session(mine, id=number) for number in range(1000)]
    finding = {"level": "error", "about": "a" * 255, "detail": "b" * 1024}
    answer = host.call("PUT", "report", report(sessions=told, findings=[finding] * 200))
    assert answer.status_code == 204
    assert (
        len(deployment.call("GET", f"{host.path}/sessions", "blue-manager").json["items"]) == 1000
    )


def test_people_see_their_own_logins_and_managers_those_of_the_project(deployment, host):
    mine, others = deployment.issue(), deployment.issue("blue-admin")
    tell(host, login(deployment, mine, id="a"), login(deployment, others, id="b"))
    tell(host, login(deployment, mine, id="c", subject_key=STRANGE))
    assert [each["id"] for each in logins(deployment, "blue-member")] == ["a"]
    assert [each["id"] for each in logins(deployment)] == ["c", "b", "a"]
    assert [each["id"] for each in logins(deployment, serial=str(mine["serial"]))] == ["c", "a"]
    assert logins(deployment, "red-manager") == []
    assert len(logins(deployment, "red-admin")) == 3
    answer = deployment.call("GET", "/v2/logins?authority=blue", "red-manager")
    assert answer.status_code == 404


def test_logins_are_given_in_parts(deployment, host):
    tell(host, *(login(deployment, id=str(number)) for number in range(5)))
    answer = deployment.call("GET", "/v2/logins?limit=2&account=member", "blue-manager").json
    follow = answer["links"]["next"].partition(".example")[2]
    rest = deployment.call("GET", follow, "blue-manager").json
    assert [each["id"] for each in answer["items"] + rest["items"]] == ["4", "3", "2", "1"]
    after = "2999-01-01T00:00:00Z"
    assert deployment.call("GET", f"/v2/logins?after={after}", "blue-manager").status_code == 400


def test_what_the_agent_tells_is_taken(deployment, host):
    """Its own words: what it says of a session, and what its doctor finds."""
    mine = deployment.issue()
    record = {
        "session": 9,
        "monitor": 12,
        "started": 34,
        "account": "member",
        "certificate": mine["certificate"],
        "source": "192.0.2.9",
        "at": "2026-01-01T00:00:00Z",
    }
    session = sessions.Session.parse(json.dumps(record).encode())
    finding = Finding("warning", "keys", "a foreign key")
    told = report(findings=[finding.told()], sessions=[session.reported()])
    assert host.call("PUT", "report", told).status_code == 204
    shown = deployment.call("GET", f"{host.path}/sessions", "blue-manager").json["items"]
    assert [each["user_name"] for each in shown] == ["blue-member-name"]
    event = {"id": "e1", "at": stamp(datetime(2026, 1, 1, tzinfo=UTC)), "kind": "accepted"}
    assert tell(host, event | session.told()) == 1
    assert logins(deployment)[0]["user_name"] == "blue-member-name"


def test_metrics_tell_how_many_hosts_are_behind(deployment, host):
    SigningHost(deployment, "db-2")
    host.call("PUT", "receipt", newest(deployment))
    text = deployment.call("GET", "/metrics").text
    assert "tatu_hosts_enrolled 2.0" in text
    assert "tatu_hosts_behind 1.0" in text
    assert "tatu_oldest_receipt_seconds 0.0" in text


def test_a_break_glass_certificate_is_an_alarm_of_its_own(template, tmp_path):
    key = ClientKey()
    (tmp_path / "break_glass.pub").write_text(f"{key.line}\n")
    settings = f"[statement]\nbreak_glass_authorities = {tmp_path}/break_glass.pub\n"
    with deployed(template, tmp_path / "deployment", settings=settings) as made:
        host = SigningHost(made)
        forged = {"signature_key": key.public.fingerprint, "account": "breakglass"}
        tell(host, login(made, made.issue(), **forged))
        assert logins(made)[0]["alarm"] == "break-glass"
        (event,) = audited(made, "login.break-glass")
        assert event["facts"]["login"]["source"] == "192.0.2.9"
        assert audited(made, "login.mismatch") == []
