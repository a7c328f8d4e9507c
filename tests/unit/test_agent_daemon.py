"""The loop: each step goes by itself, says once that it fails, and costs an idle host little."""

import itertools
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tatu.agent import daemon
from tatu.agent.daemon import Daemon, Pace
from tatu.agent.errors import AgentError, Unfinished
from tatu.agent.state import Store

NOW = datetime(2026, 3, 4, tzinfo=UTC)
SOON = 5.0
QUICK = Pace(tick=0.01, spread=0, polling=0.02, watching=0.02, sessions=3600, renewal=0, jitter=0)


@dataclass(frozen=True)
class Statement:
    version: int = 1
    issued: datetime = NOW
    expires: datetime = NOW
    krl_version: int = 1
    krl_digest: str = "sha256:1"


@dataclass(frozen=True)
class State:
    newest: Statement = Statement()
    certificates: tuple = ()
    machine: tuple = ()
    url: str = "http://127.0.0.1:1"
    ca_file: str | None = None
    insecure_http: bool = False
    authority: str = "blue"

    @property
    def signature(self):
        return f"signature of {self.newest.version}"


class Host:
    """What the daemon calls, each call noted; `broken` raises what a step is to raise."""

    def own(self, *_):
        if self.state is None:
            raise AgentError("this host is not enrolled: tatu-agent enrol")
        self.call("machine")
        return self.state

    def __init__(self, monkeypatch, folder):
        self.state = State()
        self.offered = self.state
        self.calls = []
        self.broken = {}
        self.findings = ()
        self.live = []
        self.events = 0
        layout = SimpleNamespace(root=folder, spool=folder / "spool", run=folder / "run")
        layout.spool.mkdir()
        self.folder = folder / "sessions"
        self.folder.mkdir()
        self.layout = layout
        store = Store(folder / "state")
        monkeypatch.setattr(Store, "load", lambda _: self.state)
        for name, value in {
            "refresh": self.refresh,
            "put_in_place": self._noted("install", ["in place"]),
            "warnings": lambda *_: [],
            "own": self.own,
            "enrolled": self.own,
            "refusing": lambda *_: False,
        }.items():
            monkeypatch.setattr(daemon, name, value)
        monkeypatch.setattr(daemon.sessions, "folder", lambda _: self.folder)
        monkeypatch.setattr(daemon.sessions, "all", lambda _: self.live)
        monkeypatch.setattr(daemon.ending, "enforce", self._noted("enforce", []))
        monkeypatch.setattr(daemon.logins, "collect", self._noted("journal"))
        self.renewal_due = False
        monkeypatch.setattr(
            daemon.receipts, "send_receipt", lambda *_: self.call("receipt", self.renewal_due)
        )
        monkeypatch.setattr(daemon.receipts, "flush", self._noted("flush", False))
        monkeypatch.setattr(
            daemon.receipts,
            "report",
            lambda *_: {"findings": self.findings, "sessions": self.live},
        )
        monkeypatch.setattr(daemon.receipts, "send_report", self._noted("report"))
        monkeypatch.setattr(
            daemon.renew, "due", lambda *_, told: self.call("due", "told" if told else None)
        )
        monkeypatch.setattr(daemon.renew, "renew", self._noted("renew"))
        self.revoked = set()
        monkeypatch.setattr(
            daemon.renew, "revoked", lambda _, state: state.newest.krl_digest in self.revoked
        )
        monkeypatch.setattr(
            daemon.doctor, "findings", lambda *_: self.call("doctor", self.findings)
        )
        self.daemon = Daemon(layout, store, lambda: NOW, QUICK)

    def call(self, name, answer=None):
        self.calls.append(name)
        if name in self.broken:
            raise self.broken[name]
        return answer

    def _noted(self, name, answer=None):
        return lambda *_, **__: self.call(name, answer)

    def refresh(self, *_):
        self.calls.append("refresh")
        if "refresh" in self.broken:
            return self.state, self.broken["refresh"]
        self.state = self.offered
        return self.state, None

    def round(self):
        self.calls.clear()
        self.daemon._round()
        return [call for call in self.calls if call != "machine"]


@pytest.fixture
def host(monkeypatch, tmp_path):
    return Host(monkeypatch, tmp_path)


FIRST = ["refresh", "install", "receipt", "journal", "flush", "due", "doctor", "report"]
IDLE = ["refresh", "flush"]


def test_a_round_does_each_step_and_the_next_only_what_is_new(host):
    assert host.round() == FIRST
    assert host.round() == IDLE


def test_what_is_only_signed_anew_is_receipted_but_not_installed_again(host):
    host.round()
    host.offered = replace(host.state, newest=Statement(version=2))
    assert host.round() == ["refresh", "receipt", "flush"]
    host.offered = replace(host.state, newest=Statement(version=3, krl_version=3))
    assert host.round() == ["refresh", "install", "receipt", "flush"]


def test_what_nobody_changed_is_proven_again_after_a_while(host):
    host.round()
    host.daemon._thorough_at = time.monotonic()
    assert host.round() == ["refresh", "install", "flush", "due", "doctor"]


@pytest.mark.parametrize("error", [AgentError("no"), OSError("no"), ValueError("no")])
@pytest.mark.parametrize(
    "name", ["install", "receipt", "journal", "flush", "due", "doctor", "report"]
)
def test_a_step_that_fails_stops_no_other_and_says_so_once(host, capsys, name, error):
    host.broken[name] = error
    done = host.round()
    # without what is in place there is no receipt for it
    expected = [step for step in FIRST if (name, step) != ("install", "receipt")]
    assert expected == done
    host.daemon._thorough_at = host.daemon._journal_at = 0.0
    host.round()
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "no" in line.split(": ", 1)[1]]) == 1
    host.broken.clear()
    host.daemon._thorough_at = host.daemon._journal_at = 0.0
    host.round()
    assert capsys.readouterr().err.count("works again") == 1


def test_what_could_not_be_installed_is_tried_again_at_the_next_round(host):
    host.broken["install"] = AgentError("no")
    host.round()
    assert "install" in host.round()
    host.broken.clear()
    assert host.round() == ["refresh", "install", "receipt", "flush"]
    assert host.round() == IDLE


def test_an_account_that_fails_is_tried_again_and_keeps_no_receipt_back(host, capsys):
    host.broken["install"] = Unfinished("account bob: no")
    assert {"install", "receipt"} <= set(host.round())
    host.offered = replace(host.state, newest=Statement(version=2))
    assert host.round() == ["refresh", "install", "receipt", "flush"]
    assert host.round() == ["refresh", "install", "flush"]
    assert capsys.readouterr().err.count("account bob: no") == 1
    host.broken.clear()
    assert host.round() == ["refresh", "install", "flush"]
    assert host.round() == IDLE
    host.broken["install"] = AgentError("no")
    host.offered = replace(host.state, newest=Statement(version=3, krl_version=3))
    assert host.round() == ["refresh", "install", "flush"]


def test_without_an_answer_what_was_obeyed_stays_in_place_and_nothing_is_proven_again(host):
    host.broken["refresh"] = AgentError("cannot reach it")
    host.round()
    assert host.round() == IDLE


def test_a_copy_of_another_machine_tells_nothing_in_its_name(host):
    host.broken["machine"] = AgentError("this identity was copied")
    host.broken["refresh"] = AgentError("this identity was copied")
    assert not {"receipt", "flush", "report", "renew"} & set(host.round())


def test_a_login_is_noticed_enforced_and_reported(host):
    host.round()
    before = host.daemon._seen
    host.live = ["a session"]
    (host.folder / "7").touch()
    os.utime(host.folder, ns=(1, time.time_ns() + 1))
    assert before != host.daemon._changes()
    assert host.round() == ["refresh", "enforce", "flush", "report"]
    assert host.daemon._changes() == host.daemon._seen


def test_what_runs_is_looked_at_again_and_again_whether_or_not_a_login_is_recorded(host):
    host.round()
    host.daemon._enforced_at -= QUICK.sessions
    assert host.live == []
    assert "enforce" in host.round()
    assert "enforce" not in host.round()


def test_sessions_that_expire_end_while_the_door_keeps_silent(host):
    host.round()
    host.daemon.pace = replace(QUICK, sessions=0.05)
    host.calls.clear()
    host.daemon._rest(0.5)
    assert 3 <= host.calls.count("enforce") <= 10
    assert "refresh" not in host.calls


def test_a_host_without_a_statement_ends_nothing(host):
    host.broken["refresh"] = AgentError("no")
    host.state = None
    host.daemon.pace = replace(QUICK, sessions=0)
    assert "enforce" not in host.round()
    host.daemon._rest(0.05)
    assert "enforce" not in host.calls


def test_what_one_step_said_is_not_said_again_because_another_had_nothing_to_say(host, capsys):
    host.round()
    assert "in place" in capsys.readouterr().err
    host.daemon._enforced_at -= QUICK.sessions
    host.round()
    host.daemon._thorough_at = time.monotonic()
    assert "install" in host.round()
    assert "in place" not in capsys.readouterr().err


def test_a_spooled_event_is_told_at_once_and_one_that_stays_does_not_hurry(host):
    host.round()
    (host.layout.spool / "events").write_text("an event")
    assert host.daemon._changes() != host.daemon._seen
    host.broken["flush"] = AgentError("cannot reach it")
    host.round()
    assert host.daemon._changes() == host.daemon._seen
    host.broken.clear()
    host.round()
    (host.layout.spool / "events").write_text("")
    assert host.daemon._changes() == host.daemon._seen


def test_it_ends_on_sigterm_and_tells_systemd(host, monkeypatch, tmp_path):
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(SOON)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setattr(daemon.Watcher, "start", lambda _: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop():
        deadline = time.monotonic() + SOON
        while host.calls.count("refresh") < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    said = []

    def listen():
        while b"STOPPING=1" not in said:
            said.append(told.recv(64))

    listening = threading.Thread(target=listen)
    listening.start()
    threading.Thread(target=stop).start()
    try:
        host.daemon.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert host.calls.count("refresh") >= 3
    listening.join(SOON)
    told.close()
    assert (said[0], said[-1]) == (b"READY=1", b"STOPPING=1")
    assert set(said[1:-1]) == {b"WATCHDOG=1"}


def test_each_step_shows_systemd_that_the_round_goes_on(host, monkeypatch):
    monkeypatch.setattr(daemon, "_tell_systemd", host.calls.append)
    # and the one that looks for this host's own certificates in a new list
    assert host.round().count("WATCHDOG=1") == len(FIRST) + 1


def test_news_end_the_rest_at_once_and_a_fleet_spreads(host, monkeypatch):
    asked = []
    monkeypatch.setattr(
        daemon.SystemRandom, "uniform", lambda _, low, high: asked.append(high) or 0.0
    )
    host.daemon = replace(host.daemon, pace=Pace(spread=3.0))
    host.daemon._wake.set()
    begun = time.monotonic()
    host.daemon._rest(60)
    assert time.monotonic() - begun < 1
    assert asked == [1, 3.0]
    assert not host.daemon._wake.is_set()


def test_certificates_are_renewed_when_a_receipt_says_that_it_is_due(host):
    host.round()
    host.renewal_due = True
    host.offered = replace(host.state, newest=Statement(version=2))
    assert host.round() == ["refresh", "receipt", "flush", "due", "renew"]
    assert host.round() == IDLE


def revoke_own(host):
    """Have a new list with this host's own certificates."""
    host.revoked.add("sha256:2")
    said = Statement(version=2, krl_version=2, krl_digest="sha256:2")
    host.offered = replace(host.state, newest=said)


def test_a_host_whose_own_certificates_are_revoked_renews_them_at_once(host):
    host.round()
    revoke_own(host)
    assert host.round() == ["refresh", "install", "receipt", "flush", "due"]
    assert host.round() == IDLE


def test_hosts_that_are_revoked_together_renew_over_a_while(host, monkeypatch):
    host.round()
    revoke_own(host)
    now, drawn = [1000.0], []
    monkeypatch.setattr(daemon.time, "monotonic", lambda: now[0])

    def draw(_, low, high):
        drawn.append((low, high))
        return 7.0

    monkeypatch.setattr(daemon.SystemRandom, "uniform", draw)
    host.daemon.pace = replace(QUICK, renewal=10)
    assert "due" not in host.round()
    assert drawn == [(0, 10)]
    now[0] += 6.9
    assert "due" not in host.round()
    now[0] += 0.1
    assert "due" in host.round()


def test_a_list_without_this_hosts_certificates_renews_nothing(host):
    host.round()
    host.offered = replace(host.state, newest=Statement(version=2, krl_digest="sha256:3"))
    assert host.round() == ["refresh", "install", "receipt", "flush"]


def test_a_host_that_may_not_renew_asks_ever_more_seldom(host, monkeypatch):
    host.round()
    revoke_own(host)
    host.broken["due"] = AgentError("the server answered 401")
    now, asked = [time.monotonic()], []
    monkeypatch.setattr(daemon.time, "monotonic", lambda: now[0])
    host.daemon.pace = replace(QUICK, renewal=10, thorough=3600)
    host.daemon._thorough_at = now[0] + 15_000
    for _ in range(1500):
        if "due" in host.round():
            asked.append(now[0])
        now[0] += 10
    pauses = [late - soon for soon, late in itertools.pairwise(asked)]
    assert pauses[:3] == [10, 20, 40]
    assert sorted(pauses) == pauses
    assert max(pauses) == 3600


def test_a_host_that_is_not_enrolled_says_so_once_in_one_line(host, capsys):
    host.state = host.offered = None
    for _ in range(3):
        assert host.round() == []
    assert capsys.readouterr().err == (
        "tatu-agent: enrolment: this host is not enrolled: tatu-agent enrol\n"
    )
    host.state = host.offered = State()
    assert host.round() == FIRST
    assert "enrolment: works again" in capsys.readouterr().err


def test_another_reason_for_a_failure_is_said_and_the_same_in_other_numbers_is_not(host, capsys):
    for number in range(3):
        host.broken["flush"] = AgentError(f"cannot reach it, attempt {number}")
        host.round()
        host.broken["flush"] = AgentError(f"refused (request r-{number:x}f)")
        host.round()
    said = [line for line in capsys.readouterr().err.splitlines() if "logins" in line]
    assert said == [
        "tatu-agent: logins: cannot reach it, attempt 0",
        "tatu-agent: logins: refused (request r-0f)",
    ]


def test_a_server_that_refuses_for_ever_other_reasons_does_not_fill_the_log(host, capsys):
    for letter in "abcdefghijklmnop":
        host.broken["flush"] = AgentError(f"refused: {letter}")
        host.round()
    said = [line for line in capsys.readouterr().err.splitlines() if "refused" in line]
    assert len(said) == daemon._MAX_REASONS


def test_who_is_told_to_stop_begins_no_step_any_more(host, monkeypatch):
    monkeypatch.setattr(daemon.receipts, "send_receipt", lambda *_: host.daemon._stop())
    assert host.round() == ["refresh", "install"]
