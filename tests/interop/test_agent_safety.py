"""Killed, or without room on the disk, at each of its steps: nobody locked out, nobody let in."""

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tatu.agent import ending, install, main, place, processes
from tatu.agent.accounts import Standing
from tatu.agent.errors import AgentError, Unwritten
from tatu.agent.layout import Layout
from tatu.agent.processes import Process
from tatu.agent.state import Store
from tatu.core.certificate import CertificateType
from tatu.core.statement import BreakGlass, Freshness, FreshnessPolicy
from tests.fakes.agent_host import ACCOUNT, GROUP, AgentHost
from tests.fakes.tatu_server import FakeTatu, Key, certify

MAX_AGE = 600
REFUSING = Freshness(policy=FreshnessPolicy.REFUSE_NEW_LOGINS, max_age_seconds=MAX_AGE)
RUNS = """
import os, sys
from datetime import datetime, timedelta
from tatu.agent import main, signatures

step = ahead = 0

def counted(function):
    def call(*given, **named):
        global step
        if step == 0:
            os._exit(9)
        step -= 1
        return function(*given, **named)
    return call

class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(seconds=ahead)

main.datetime = Clock
for name in ("rename", "unlink", "mkdir", "fsync"):
    setattr(os, name, counted(getattr(os, name)))
signatures.subprocess.run = counted(signatures.subprocess.run)
for line in sys.stdin:
    step, ahead = map(int, line.split())
    child = os.fork()
    if not child:
        os._exit(main.main(sys.argv[1:]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runs:
    """Runs of the agent that are killed at a step; what they import is imported once."""

    def __init__(self, arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def killed(self, step, ahead=0):
        """Run until a step, that many seconds ahead; return the exit code: 9 if it came to it."""
        self._process.stdin.write(f"{step} {ahead}\n")
        self._process.stdin.flush()
        while not (said := self._process.stdout.readline()).strip().isdigit():
            assert said, "it ended"
        return int(said)

    def stop(self):
        self._process.communicate()


@pytest.fixture
def host(tmp_path, keys):
    return AgentHost(tmp_path / "host", keys)


class Watched:
    """A host whose authority says something new again and again, and what it may be found in."""

    def __init__(self, host, tatu):
        self.host = host
        self.tatu = tatu
        self.offline = Key()
        self.said = []
        self.number = 0
        self.publish()
        assert host.enrol(tatu.token) == 0
        self.check()

    def publish(self):
        """Say something else in each of its parts."""
        self.number += 1
        self.tatu.revoked |= {self.number}
        account = "breakglass" if self.number % 3 else "help"
        offline = BreakGlass(authorities=(self.offline.public,), account=account)
        told = self.tatu.publish(
            accounts={ACCOUNT: ("always", f"alice{self.number}")},
            pam_sudo=bool(self.number % 2),
            break_glass=offline if self.number % 4 else None,
            freshness=REFUSING,
        )
        self.said.append((told.krl_version, f"alice{self.number}"))

    def check(self, *, may_refuse=False):
        """Fail unless what stands was told, is no older than it was, and lets in who always may.

        Who gains by a statement may be let in only when its list is in place.
        """
        self.host.check()
        listed = int.from_bytes(self.host.krl.read_bytes()[12:20], "big")
        file = self.host.principals / ACCOUNT
        lines = file.read_text().splitlines() if file.exists() or not may_refuse else []
        principals = [line for line in lines if not line.startswith("#")]
        told = [number for number, (krl, _) in enumerate(self.said) if krl == listed]
        assert told, f"a list that nobody told of: {listed}"
        # what stood may only have been followed by what came later
        self.said = self.said[told[0] :]
        allowed = [["always", name] for _, name in self.said[:1]] + [["always"]]
        assert principals in allowed or (may_refuse and not principals), principals


@pytest.fixture
def watched(host, tatu):
    return Watched(host, tatu)


@pytest.fixture
def runs(host):
    runs = Runs(host.arguments("sync"))
    yield runs
    runs.stop()


@pytest.mark.slow
@pytest.mark.matrix
def test_killed_at_any_step_of_enrolment_sshd_still_starts(host, tatu, tmp_path):
    file = tmp_path / "token"
    file.write_text(tatu.token)
    runs = Runs(host.arguments("enrol", "--token-file", str(file)))
    for step in itertools.count():
        code = runs.killed(step)
        host.check()
        if code != 9:
            break
    runs.stop()
    assert code == 0
    assert step > 20
    assert host.revokes(tatu.statement.krl_version)
    assert "\nadmin\n" in (host.principals / ACCOUNT).read_text()


@pytest.mark.slow
def test_killed_at_any_step_nobody_is_locked_out_and_nobody_let_in(watched, runs):
    for step in itertools.count():
        watched.publish()
        code = runs.killed(step)
        watched.check()
        if code != 9:
            break
    assert code == 0
    assert step > 20
    assert len(watched.said) == 1, "the newest is in force"


@pytest.mark.slow
@pytest.mark.matrix
def test_killed_at_any_step_of_refusing_a_host_refuses_after_the_next_run(
    watched, runs, monkeypatch, tmp_path
):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=MAX_AGE + 2)

    host, principals = watched.host, watched.host.principals / ACCOUNT
    watched.tatu.served["/v2/authorities/blue/statement"] = 503, b""
    assert "alice" in principals.read_text()
    fresh = tmp_path / "fresh"
    shutil.copytree(host.root, fresh)
    for step in itertools.count():
        code = runs.killed(step, ahead=MAX_AGE + 2)
        watched.check(may_refuse=True)
        with monkeypatch.context() as changed:
            changed.setattr(main, "datetime", Later)
            assert host.sync() == 1
        assert "alice" not in principals.read_text()
        host.check()
        if code != 9:
            break
        shutil.rmtree(host.root)
        shutil.copytree(fresh, host.root)
    assert code == 1, "the server was away"
    assert step > 3
    watched.tatu.served.clear()
    watched.publish()
    assert host.sync() == 0
    watched.check()


def full_from(monkeypatch, step):
    """Have no room on the disk from a step on, or after so many: each may be the first to fail."""
    left = itertools.count(step, -1)

    def limited(function, takes_room=lambda *_: True):
        def call(*given, **named):
            if takes_room(*given) and next(left) <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*given, **named)

        return call

    for name in ("fsync", "mkdir", "link"):
        monkeypatch.setattr(os, name, limited(getattr(os, name)))
    # the lock is there already, and takes none
    made = limited(os.open, lambda path, flags, *_: flags & os.O_CREAT and not Path(path).exists())
    monkeypatch.setattr(os, "open", made)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_step_lets_nobody_in_who_lost(watched, monkeypatch, capsys):
    principals = watched.host.principals / ACCOUNT
    for step in itertools.count():
        lost = f"alice{watched.number}"
        watched.publish()
        with monkeypatch.context() as changed:
            full_from(changed, step)
            code = watched.host.sync()
        said = capsys.readouterr().err
        watched.check(may_refuse=True)
        assert not principals.exists() or lost not in principals.read_text().splitlines()
        if code == 0:
            break
        assert "No space left on device" in said
        assert said.count("\n") == 1
    assert step > 10
    assert watched.host.sync() == 0
    watched.check()
    assert len(watched.said) == 1, "the newest is in force"


@pytest.mark.parametrize("is_revoking", [False, True])
def test_who_lost_by_a_statement_that_could_not_be_kept_stays_out(
    is_revoking, host, tatu, monkeypatch
):
    def let_in():
        file = host.principals / ACCOUNT
        return [] if not file.exists() else file.read_text().splitlines()[1:]

    tatu.publish(accounts={ACCOUNT: ("alice", "bob")})
    assert host.enrol(tatu.token) == 0
    if is_revoking:
        tatu.revoked |= {7}
        tatu.publish(accounts={ACCOUNT: ("alice", "bob")})
    else:
        tatu.publish(accounts={"nobody-here": ("alice",)})
    with monkeypatch.context() as full:
        full_from(full, 0)
        assert host.sync() == 1
        assert let_in() == []
    tatu.served["/v2/authorities/blue/statement"] = 503, b""
    assert host.sync() == 1
    assert let_in() == [], "the last statement lets nobody back in"
    tatu.served.clear()
    assert host.sync() == 0
    assert let_in() == (["alice", "bob"] if is_revoking else [])


def a_session(host, tatu, serial):
    """Write down a login by a certificate, as the hook does."""
    line = certify(
        tatu.user_key, Key().public, ["alice"], serial=serial, type=CertificateType.USER
    ).line
    folder = host.root / "run/tatu-agent/sessions"
    folder.mkdir(parents=True)
    record = {
        "session": 13, "monitor": 115, "started": 7, "account": ACCOUNT, "certificate": line,
        "source": "", "at": "2026-01-01T12:00:00Z",
    }  # fmt: skip
    (folder / "13").write_text(json.dumps(record))


@pytest.mark.parametrize("full", ["everywhere", "where sshd reads"])
def test_who_is_on_a_list_that_could_not_be_written_loses_open_sessions(
    full, host, tatu, monkeypatch
):
    tatu.publish(accounts={ACCOUNT: ("alice",)})
    assert host.enrol(tatu.token) == 0
    a_session(host, tatu, serial=7)
    monkeypatch.setattr(processes, "running", lambda: [Process(200, 7, 0, 1001, 13, "", 0)])
    ended = []
    monkeypatch.setattr(ending, "end", lambda doomed, _: ended.extend(doomed.sessions) or [])
    assert host.sync() == 0
    assert ended == []
    tatu.revoked |= {7}
    tatu.publish(accounts={ACCOUNT: ("alice",)})
    put = place.put

    def put_elsewhere(layout, path, *rest, **named):
        if path == host.krl:
            raise Unwritten("no space")
        return put(layout, path, *rest, **named)

    with monkeypatch.context() as limited:
        if full == "everywhere":
            full_from(limited, 0)
        else:
            limited.setattr(place, "put", put_elsewhere)
        assert host.sync() == 1
    assert ended == [13]
    assert int.from_bytes(host.krl.read_bytes()[12:20], "big") != tatu.statement.krl_version


def test_an_account_whose_file_cannot_be_written_is_closed_and_the_others_go_on(
    host, tatu, monkeypatch, capsys
):
    tatu.publish(accounts={ACCOUNT: ("alice", "bob")})
    assert host.enrol(tatu.token) == 0
    layout = Layout(host.root, host.config, "/usr/sbin/sshd", GROUP, "true")
    newest = Store(layout.state).load().newest
    names = "a", ACCOUNT
    monkeypatch.setattr(Standing, "managed", lambda *_: list(names))
    less = replace(newest, accounts=dict.fromkeys(names, ("alice",)))
    more = replace(newest, accounts=dict.fromkeys(names, ("alice", "bob")))
    install.admit(layout, more, newest.issued)
    full_from(monkeypatch, 0)
    with pytest.raises(AgentError, match="No space left"):
        install.admit(layout, less, newest.issued)
    assert list(host.principals.iterdir()) == []


def test_nobody_gains_by_a_statement_whose_list_is_not_in_place(host, tatu, capsys):
    tatu.publish(accounts={ACCOUNT: ("alice", "bob")})
    assert host.enrol(tatu.token) == 0
    tatu.publish(accounts={ACCOUNT: ("alice", "carol")})
    kept = host.krl.rename(host.krl.with_name("kept"))
    host.krl.symlink_to(kept)
    for _ in range(2):
        assert host.sync() == 1
        assert "revoked.krl" in capsys.readouterr().err
        file = host.principals / ACCOUNT
        lines = file.read_text().splitlines() if file.exists() else []
        assert [line for line in lines if not line.startswith("#")] == []
    host.krl.unlink()
    assert host.sync() == 0
    assert "\nalice\ncarol\n" in (host.principals / ACCOUNT).read_text()


@pytest.mark.parametrize("part", [0, 1, 40, -1])
def test_files_that_a_crash_of_the_machine_cut_are_made_whole(part, watched, capsys):
    """Rename is whole on the file systems of today; the agent does not rely on it alone."""
    host = watched.host
    before = host.picture()
    for path in [*(host.ssh / "tatu").iterdir(), host.principals / ACCOUNT, host.drop_in]:
        path.write_bytes(path.read_bytes()[:part])
    assert host.sync() == 0, capsys.readouterr().err
    assert before == host.picture()
    kept = next(host.state.glob("krl-*"))
    kept.write_bytes(kept.read_bytes()[:part])
    assert host.sync() == 0, capsys.readouterr().err
    assert before == host.picture()
    state = host.state / "state.json"
    whole = state.read_bytes()
    state.write_bytes(whole[:part])
    assert host.sync() == 1
    assert "damaged: enrol again" in capsys.readouterr().err
    assert not (host.principals / ACCOUNT).exists(), "nobody would hear of a revocation"
    state.write_bytes(whole)
    assert host.sync() == 0
    watched.check()


def test_files_that_were_told_before_or_to_others_are_not_taken_again(watched, capsys):
    host, tatu = watched.host, watched.tatu
    old = tatu.statement
    old_krl = host.krl.read_bytes()
    watched.publish()
    assert host.sync() == 0
    before = host.picture()
    for said, why in (
        (old, "is not after"),
        (FakeTatu(authority="red").publish(), "for another authority"),
    ):
        tatu.say(said)
        assert host.sync() == 1
        assert why in capsys.readouterr().err
        assert before == host.picture()
    host.krl.write_bytes(old_krl)
    assert host.sync() == 1
    assert before == host.picture(), "an old list that somebody put there is replaced"
