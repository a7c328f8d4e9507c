"""What a host tells is told at least once, in order, and nothing keeps back all that follows."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from tatu.agent import VERSION, doctor, receipts, spool
from tatu.agent.doctor import Finding
from tatu.agent.errors import AgentError, Answered
from tatu.agent.keys import UserCertificate
from tatu.agent.layout import Layout
from tatu.agent.sessions import Session
from tatu.api.hostschemas import ReportRequest
from tatu.core.certificate import CertificateType
from tests.fakes.tatu_server import Key, certify

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NEWEST = SimpleNamespace(version=9, krl_version=8, krl_digest="sha256:7")
STATE = SimpleNamespace(newest=NEWEST, statement="{}", signature="armored")
RECEIPT = {
    "statement_version": 9,
    "krl_version": 8,
    "krl_digest": "sha256:7",
    "at": "2026-03-04T05:06:07Z",
}


class Tatu:
    """Notes what is asked of it; `refuse` says what it answers instead of taking it."""

    def __init__(self):
        self.asked = []
        self.refuse = lambda rest, value: None
        self.answer = {}

    def signed(self, layout, state, method, rest, value, *, now):
        self.asked.append((method, rest, value))
        refused = self.refuse(rest, value)
        if refused:
            raise refused
        return self.answer

    @property
    def stored(self):
        return [
            event["detail"]
            for _, rest, value in self.asked
            if not self.refuse(rest, value)
            for event in value["events"]
        ]


@pytest.fixture
def tatu(monkeypatch):
    made = Tatu()
    monkeypatch.setattr(receipts.request, "signed", made.signed)
    return made


@pytest.fixture
def layout(tmp_path):
    return Layout(
        root=tmp_path, sshd_config=tmp_path / "x", sshd="sshd", group="tatu", reload_command=""
    )


def happen(layout, *details):
    for detail in details:
        spool.append(layout, {"kind": "refused", "detail": detail})


def test_a_receipt_names_what_is_in_force(tatu, layout):
    assert not receipts.send_receipt(layout, STATE, NOW)
    assert tatu.asked == [("PUT", "receipt", RECEIPT)]
    tatu.answer = {"renewal_due": True}
    assert receipts.send_receipt(layout, STATE, NOW)


def test_a_statement_that_tatu_forgot_is_shown_to_it(tatu, layout):
    tatu.refuse = lambda rest, value: None if "statement" in value else Answered(409, "unknown")
    receipts.send_receipt(layout, STATE, NOW)
    shown = {**RECEIPT, "statement": "{}", "signature": "armored"}
    assert [("PUT", "receipt", RECEIPT), ("PUT", "receipt", shown)] == tatu.asked


def test_a_receipt_that_is_refused_otherwise_is_not_sent_again(tatu, layout):
    tatu.refuse = lambda rest, value: Answered(403, "no")
    with pytest.raises(Answered):
        receipts.send_receipt(layout, STATE, NOW)
    assert len(tatu.asked) == 1


def test_the_spool_is_told_in_order_and_emptied(tatu, layout):
    happened = [str(number) for number in range(250)]
    happen(layout, *happened)
    spool.lose(layout, 3)
    assert not receipts.flush(layout, STATE, NOW)
    assert happened == tatu.stored
    assert [value["lost"] for _, _, value in tatu.asked] == [3, 0, 0]
    assert max(len(value["events"]) for _, _, value in tatu.asked) == 100
    tatu.asked.clear()
    assert not receipts.flush(layout, STATE, NOW)
    assert tatu.asked == []


@pytest.mark.parametrize(
    "error",
    [AgentError("away"), Answered(503, "away"), Answered(401, "who"), Answered(429, "slow")],
)
def test_what_could_not_be_told_is_kept(tatu, layout, error):
    happen(layout, "one", "two")
    tatu.refuse = lambda rest, value: error
    with pytest.raises(AgentError):
        receipts.flush(layout, STATE, NOW)
    tatu.refuse = lambda rest, value: None
    receipts.flush(layout, STATE, NOW)
    assert tatu.stored[-2:] == ["one", "two"]


@pytest.mark.parametrize("status", [400, 413])
def test_an_event_that_is_never_taken_is_counted_and_keeps_no_other_back(tatu, layout, status):
    happen(layout, "one", "bad", "two")

    def refuse(rest, value):
        bad = any(event["detail"] == "bad" for event in value["events"])
        return Answered(status, "no") if bad else None

    tatu.refuse = refuse
    assert not receipts.flush(layout, STATE, NOW)
    assert tatu.stored == ["one", "two"]
    assert sum(v["lost"] for r, (_, _, v) in enumerate(tatu.asked) if not refuse("", v)) == 1


def test_a_full_spool_does_not_keep_a_round_for_ever(tatu, layout, monkeypatch):
    monkeypatch.setattr(receipts, "_AT_ONCE", 1)
    happen(layout, *(str(number) for number in range(30)))
    assert receipts.flush(layout, STATE, NOW)
    assert len(tatu.asked) == 20
    assert not receipts.flush(layout, STATE, NOW)
    assert len(tatu.stored) == 30


def test_a_slow_server_does_not_keep_a_round_for_ever(tatu, layout, monkeypatch):
    monkeypatch.setattr(receipts, "_AT_ONCE", 1)
    monkeypatch.setattr(receipts, "_PATIENCE", 0.0)
    happen(layout, "one", "two")
    assert receipts.flush(layout, STATE, NOW)
    assert tatu.stored == ["one"]
    receipts.flush(layout, STATE, NOW)
    assert tatu.stored == ["one", "two"]


def test_large_events_are_told_in_requests_that_tatu_takes(tatu, layout):
    for number in range(60):
        large = {f"{name:02}": "x" * 250 for name in range(50)}
        spool.append(layout, {"kind": "refused", "detail": str(number), **large})
    assert not receipts.flush(layout, STATE, NOW)
    assert tatu.stored == [str(number) for number in range(60)]
    assert 2**17 < max(len(json.dumps(value)) for _, _, value in tatu.asked) < 2**19


def test_where_a_request_takes_little_events_are_told_a_few_at_a_time(tatu, layout):
    told = [str(number) for number in range(30)]
    happen(layout, *told)
    tatu.refuse = lambda rest, value: Answered(413, "no") if len(value["events"]) > 4 else None
    assert not receipts.flush(layout, STATE, NOW)
    assert tatu.stored == told
    assert not any(value["lost"] for _, _, value in tatu.asked)


def test_a_report_that_is_too_large_is_told_by_half_and_half_again(tatu, layout):
    report = {"os": "x", "findings": list("abcdefgh"), "sessions": list("12345")}
    tatu.refuse = lambda rest, value: Answered(413, "no") if len(value["findings"]) > 3 else None
    receipts.send_report(layout, STATE, report, NOW)
    assert tatu.asked[-1][2] == {"os": "x", "findings": ["a", "b"], "sessions": ["1"]}
    tatu.refuse = lambda rest, value: Answered(413, "no")
    with pytest.raises(Answered):
        receipts.send_report(layout, STATE, report, NOW)


def test_a_report_says_what_the_host_is(layout):
    (layout.root / "usr/lib").mkdir(parents=True)
    (layout.root / "usr/lib/os-release").write_text('NAME=x\nPRETTY_NAME="Debian 12 (bookworm)"\n')
    told = receipts.report(layout, [{"level": "ok"}])
    assert told["openssh"].startswith("OpenSSH_")
    assert {**told, "openssh": ""} == {
        "agent_version": VERSION,
        "openssh": "",
        "os": "Debian 12 (bookworm)",
        "findings": [{"level": "ok"}],
        "sessions": [],
    }


def logins(account, number):
    """Return sessions by a certificate of everything that Tatu could refuse in one."""
    made = certify(
        Key(),
        Key().public,
        (account,),
        type=CertificateType.USER,
        serial=2**64 - 1,
        key_id="\x1b\n" * 300,
    )
    login = Session(1, 1, 1, account, UserCertificate.parse(made.line), "2001:db8::1", NOW)
    return [replace(login, id=number) for number in range(1, number + 1)]


def taken(report):
    """Return a report as Tatu reads it; fails for one that it would refuse."""
    return msgspec.json.decode(json.dumps(report), type=ReportRequest)


def test_tatu_takes_what_a_host_tells_at_its_worst(layout, monkeypatch):
    (layout.root / "usr/lib").mkdir(parents=True)
    (layout.root / "usr/lib/os-release").write_text("PRETTY_NAME=\x1b" + "x" * 5000)
    found = doctor._plain(Finding("error", "/home/\x1b" + "ö" * 500, "a\nb" * 2000)).told()
    monkeypatch.setattr(receipts.sessions, "all", lambda _: logins("member", 3))
    told = taken(receipts.report(layout, [found] * 200))
    assert (len(told.findings), len(told.sessions)) == (200, 3)
    assert told.os.startswith("?xxx")


def test_who_opens_sessions_without_end_hides_in_no_report_that_is_refused(layout, monkeypatch):
    live = [*logins("admin", 1), *logins("member", 1000)]
    monkeypatch.setattr(receipts.sessions, "all", lambda _: live)
    found = {"level": "info", "about": "something", "detail": ""}
    told = taken(receipts.report(layout, [found] * 200))
    assert len(told.sessions) == 1000
    assert (told.findings[0].level, told.findings[0].about) == ("warning", "sessions")
    assert told.findings[0].detail == "1001 are open, 1000 are listed; most are of member"
    monkeypatch.setattr(receipts.sessions, "all", lambda _: live[:1000])
    assert "sessions" not in {each.about for each in taken(receipts.report(layout, [])).findings}
