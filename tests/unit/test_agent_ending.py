"""Which sessions end, and which processes end with them."""

import os
import pwd
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tatu.agent import accounts, doomed, ending, files, processes, sessions, spool
from tatu.agent.doomed import Doomed
from tatu.agent.keys import UserCertificate
from tatu.agent.layout import Layout
from tatu.agent.processes import NOBODY, Process
from tatu.agent.sessions import Session
from tatu.core.certificate import CertificateType
from tests.fakes.statements import stated
from tests.fakes.tatu_server import Key, certify

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CA, OFFLINE, OTHER, USER = Key(), Key(), Key(), Key()


def newest(**changes):
    usual = {"accounts": {"admin": ("admin",), "member": ("member", "reader")}}
    return stated(CA, Key(), OFFLINE, NOW, **{**usual, **changes})


def session(account="member", principals=("member",), ca=CA, number=13, **changes):
    usual = {
        "type": CertificateType.USER,
        "valid_after": NOW - timedelta(hours=1),
        "valid_before": NOW + timedelta(hours=1),
    }
    made = certify(ca, USER.public, principals, **{**usual, **changes})
    certificate = UserCertificate.parse(made.line)
    return Session(number, 115, 7, account, certificate, "192.0.2.7", NOW)


def reason(login, said=None, revoked=(), now=NOW):
    return ending.reason(login, said or newest(), revoked, now)


def test_a_session_goes_on_while_its_certificate_would_open_its_account():
    assert reason(session()) is None
    assert reason(session(principals=("reader", "auditor"))) is None


def test_a_revoked_certificate_ends_its_sessions():
    login = session()
    assert reason(login, revoked={login.certificate.line}) == "its certificate is revoked"


def test_an_expired_certificate_ends_sessions_by_policy_only():
    late = NOW + timedelta(hours=1)
    assert reason(session(), now=late) is None
    said = newest(end_at_expiry=True)
    assert reason(session(), said, now=late) == "its certificate has expired"
    assert reason(session(), said, now=late - timedelta(seconds=1)) is None


def test_an_account_that_no_role_opens_any_more_ends_its_sessions():
    said = newest(accounts={"admin": ("admin",)})
    assert reason(session(), said) == "its account is closed"


def test_a_principal_that_opens_the_account_no_more_ends_its_sessions():
    said = newest(accounts={"admin": ("admin",), "member": ("reader",)})
    assert reason(session(), said) == "its certificate no longer opens this account"


def test_an_authority_that_is_trusted_no_more_ends_what_it_signed():
    assert reason(session(ca=OTHER)) == "who signed its certificate is no longer trusted"


def test_break_glass_holds_in_its_account_alone_and_by_its_keys_alone():
    assert reason(session("rescue", ("rescue",), OFFLINE)) is None
    assert reason(session("rescue", ("rescue",), CA)) == "its account is closed"
    assert "no longer trusted" in reason(session("member", ("member",), OFFLINE))
    assert "closed" in reason(session("rescue", ("rescue",), OFFLINE), newest(break_glass=None))


def test_break_glass_ends_with_its_certificate_whatever_the_policy():
    """Four hours are all it has: nothing that would end it may reach this host."""
    login = session("rescue", ("rescue",), OFFLINE)
    late = NOW + timedelta(hours=1)
    assert reason(login, now=late - timedelta(seconds=1)) is None
    assert reason(login, now=late) == "its certificate has expired"


def test_a_revoked_break_glass_certificate_ends_its_sessions_too():
    login = session("rescue", ("rescue",), OFFLINE)
    assert reason(login, revoked={login.certificate.line}) == "its certificate is revoked"


SCOPE = "/user.slice/user-1001.slice/session-13.scope"
BOB = Process(200, 7, 1001, 1001, 13, SCOPE, 0)
EVE = Process(201, 7, 1001, 1001, 14, "/user.slice/user-1001.slice/session-14.scope", 0)
ADMIN = Process(202, 7, 1000, 1000, 15, "/user.slice/user-1000.slice/session-15.scope", 0)
SYSTEMD = Process(1, 1, 0, NOBODY, NOBODY, "/init.scope", 0)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")


@pytest.fixture
def machine(monkeypatch):
    """Have these processes run, and nothing else; return them."""
    found = []
    monkeypatch.setattr(processes, "running", lambda: list(found))
    return found


def ended(machine, *running, **which):
    machine[:] = running
    return Doomed(**{"kept": frozenset(), **which}).running()


def test_all_of_a_session_ends_whoever_it_became(machine):
    root = replace(BOB, pid=300, uid=0)
    mapped = replace(BOB, pid=301, uid=100_000)
    found = ended(machine, BOB, root, mapped, EVE, ADMIN, SYSTEMD, sessions=frozenset({13}))
    assert found == [BOB, root, mapped]


def test_what_got_another_session_as_root_is_found_in_the_cgroup(machine):
    rewritten = replace(BOB, uid=0, login_uid=0, session=77)
    found = ended(machine, rewritten, EVE, cgroups=frozenset({SCOPE}))
    assert found == [rewritten]


def test_what_goes_on_is_spared_wherever_it_stands(machine):
    beside = replace(EVE, cgroup=SCOPE)
    which = {
        "kept": frozenset({14}),
        "cgroups": frozenset({SCOPE}),
        "strays": frozenset({(14, 1001)}),
    }
    assert ended(machine, beside, **which) == []


def test_an_administrator_who_became_the_account_loses_that_alone(machine):
    became = replace(ADMIN, pid=300, uid=1001)
    found = ended(machine, ADMIN, became, strays=frozenset({(15, 1001)}))
    assert found == [became]


def test_the_agent_does_not_end_itself_when_a_doomed_session_started_it(machine):
    own = replace(BOB, pid=os.getpid())
    assert ended(machine, own, BOB, sessions=frozenset({13})) == [BOB]


def test_strays_are_processes_of_managed_accounts_that_no_record_is_for(
    layout, machine, monkeypatch
):
    monkeypatch.setattr(sessions, "all", lambda _: [session(number=13)])
    cron = replace(BOB, pid=300, session=90)
    became_root = replace(cron, pid=301, uid=0)
    service = replace(BOB, pid=302, login_uid=NOBODY, session=NOBODY)
    daemon = replace(SYSTEMD, pid=303)
    machine[:] = [BOB, ADMIN, SYSTEMD, cron, became_root, service, daemon]
    assert ending._strays(layout, {1001}) == {(90, 1001), (90, 0), (NOBODY, 1001)}


def test_a_login_that_is_being_recorded_is_no_stray(layout, machine, monkeypatch):
    recorded, strays = [], []
    monkeypatch.setattr(accounts.Standing, "all", lambda _: ["root"])
    monkeypatch.setattr(ending, "_GRACE", 0)
    monkeypatch.setattr(sessions, "all", lambda _: recorded)
    monkeypatch.setattr(ending, "end", lambda which, _: strays.append(which.strays) or [])
    login, cron = replace(BOB, uid=0), replace(BOB, uid=0, session=90)
    machine[:] = [login, cron]
    monkeypatch.setattr(
        ending.time, "sleep", lambda _: recorded.append(session(number=login.session))
    )
    ending.end_strays(layout)
    assert strays == [{(90, 0)}]


def test_an_account_that_vanished_meanwhile_keeps_no_stray_from_ending(
    layout, machine, monkeypatch
):
    strays = []
    monkeypatch.setattr(accounts.Standing, "all", lambda _: ["no-such-account", "root"])
    monkeypatch.setattr(ending, "_GRACE", 0)
    monkeypatch.setattr(ending, "end", lambda which, _: strays.append(which.strays) or [])
    machine[:] = [replace(BOB, uid=0)]
    ending.end_strays(layout)
    assert strays == [{(13, 0)}]


def test_what_is_killed_is_stopped_first_so_that_nothing_is_started_meanwhile(
    machine, monkeypatch
):
    """A process that forks whenever another of its kind is killed would never be caught."""
    sent = []

    def send(process, number):
        sent.append((process.pid, number))
        if number == signal.SIGSTOP and process.pid == 200:
            machine.append(replace(BOB, pid=400))  # started just before
        if number == signal.SIGKILL:
            machine.remove(process)

    monkeypatch.setattr(Process, "send", send)
    machine[:] = [BOB, replace(BOB, pid=300), EVE]
    assert doomed.end(Doomed(frozenset({14}), frozenset({13})), {}) == []
    kinds = [number for _, number in sent]
    assert kinds == [signal.SIGSTOP] * 3 + [signal.SIGKILL] * 3
    assert machine == [EVE]


def test_what_cannot_be_killed_is_told(machine, monkeypatch):
    monkeypatch.setattr(doomed, "_DEADLINE", 0.1)
    monkeypatch.setattr(Process, "send", lambda *_: None)
    machine[:] = [BOB]
    assert doomed.end(Doomed(frozenset(), frozenset({13})), {}) == [BOB]


def test_a_cgroup_is_frozen_for_as_long_as_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(doomed, "_CGROUPS", (tmp_path, tmp_path / "absent"))
    switch = tmp_path / SCOPE[1:] / "cgroup.freeze"
    switch.parent.mkdir(parents=True)
    with doomed._frozen({SCOPE}):
        assert switch.read_text() == "1"
    assert switch.read_text() == "0"


def test_the_scope_of_a_session_is_held_whether_or_not_a_process_of_it_is_seen(
    layout, machine, monkeypatch
):
    held = []
    monkeypatch.setattr(ending, "end", lambda which, _: held.append(which.cgroups) or [])
    nobody = pwd.getpwnam("nobody").pw_uid
    write(layout, session("nobody", number=13))
    write(layout, session("no-such-account", number=14))
    ending.enforce(layout, StateOf(newest()), NOW)
    assert (held, machine) == ([{f"/user.slice/user-{nobody}.slice/session-13.scope"}], [])


def test_the_scope_that_logind_counted_is_found_by_the_process_of_sshd(layout):
    first = session("nobody", number=13)
    later = replace(first, id=14, at=first.at + timedelta(hours=1))
    uid = pwd.getpwnam("nobody").pw_uid
    own = {"UID": uid, "LEADER": first.monitor, "REALTIME": int(first.at.timestamp() * 1e6) + 9}
    for name, facts in {
        "c9": {},
        "c10": {"LEADER": first.monitor + 1},
        "c11": {"UID": uid + 1},
        "c12": {"SCOPE": "../../system.slice"},
        "c13": {"SCOPE": "session-c13.scope/../x"},
        "c14": {"REALTIME": int(later.at.timestamp() * 1e6) + 9},
        "c15": {"REALTIME": ""},
        "c16": {"REALTIME": own["REALTIME"] - 9_000_000},
        "c17": {"LEADER": "9" * 5000},
        "c18": {"REALTIME": "9" * 30},
    }.items():
        told = {**own, "SCOPE": f"session-{name}.scope", **facts}
        layout.logind.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{key}={value}\n" for key, value in told.items())
        (layout.logind / name).write_text(f"# of logind\n{text}")
    slice_ = f"/user.slice/user-{uid}.slice"
    assert ending._scopes(layout, [first, later]) == {
        13: {f"{slice_}/session-13.scope", f"{slice_}/session-c9.scope"},
        14: {f"{slice_}/session-14.scope", f"{slice_}/session-c14.scope"},
    }


def test_a_record_stays_while_anything_is_in_its_cgroup(layout, machine, monkeypatch, tmp_path):
    monkeypatch.setattr(doomed, "_CGROUPS", (tmp_path / "absent", tmp_path))
    login = session("nobody", ("nobody",))
    [scope] = ending._scopes(layout, [login])[login.id]
    events = tmp_path / scope.lstrip("/") / "cgroup.events"
    events.parent.mkdir(parents=True)
    write(layout, login)
    state = StateOf(newest(accounts={"nobody": ("nobody",)}, sudo=()))
    for text, kept in (("populated 1\nfrozen 0\n", 1), ("populated 0\nfrozen 0\n", 0)):
        events.write_text(text)
        ending.enforce(layout, state, NOW)
        assert (len(sessions.all(layout)), machine) == (kept, [])


def test_nothing_is_looked_for_before_the_cgroup_is_still(tmp_path, monkeypatch):
    monkeypatch.setattr(doomed, "_CGROUPS", (tmp_path,))
    folder = tmp_path / SCOPE[1:]
    folder.mkdir(parents=True)
    (folder / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    slept = []

    def sleep(_):
        slept.append((folder / "cgroup.freeze").read_text())
        (folder / "cgroup.events").write_text("populated 1\nfrozen 1\n")

    monkeypatch.setattr(doomed.time, "sleep", sleep)
    with doomed._frozen({SCOPE}):
        assert slept == ["1"]


def write(layout, login):
    files.folder(sessions.folder(layout), 0o700)
    text = (
        f'{{"session": {login.id}, "monitor": 115, "started": 7, "account": "{login.account}", '
        f'"certificate": "{login.certificate.line}", "source": "", "at": "2026-01-01T12:00:00Z"}}'
    )
    (sessions.folder(layout) / str(login.id)).write_text(text)


class StateOf:
    def __init__(self, said):
        self.newest = said


def told(layout):
    return [(each["kind"], each.get("detail", "")) for each in spool.batch(layout, 100).events]


def test_a_login_and_its_end_are_told_once(layout, machine):
    login = session(principals=("member",))
    write(layout, login)
    machine[:] = [replace(BOB, uid=0)]
    state = StateOf(newest(accounts={"member": ("member",)}, sudo=()))
    for _ in range(2):
        warned = ending.enforce(layout, state, NOW)
    assert (told(layout), len(warned)) == ([("accepted", "")], 1), "there is no list to look in"
    machine.clear()
    for _ in range(2):
        ending.enforce(layout, state, NOW)
    assert told(layout) == [("accepted", ""), ("ended", "closed")]
    assert sessions.all(layout) == []


def test_a_record_stays_for_as_long_as_any_process_of_its_session(layout, machine):
    write(layout, session())
    machine[:] = [replace(BOB, pid=999)]
    ending.enforce(layout, StateOf(newest()), NOW)
    assert [each.id for each in sessions.all(layout)] == [13]


def test_the_result_says_where_root_may_have_hidden_something(layout, machine, monkeypatch):
    monkeypatch.setattr(Process, "send", lambda process, _: machine.remove(process))
    for number, account in ((13, "admin"), (14, "member"), (15, "member")):
        write(layout, session(account, ("nothing",), number=number))
    files.folder(layout.run / "root", 0o700)
    (layout.run / "root/15").touch()
    machine[:] = [BOB]
    said = ending.enforce(layout, StateOf(newest(pam_sudo=False)), NOW)
    rooted = [line.split()[2] for line in said if "had root" in line]
    assert rooted == ["13", "15"]
    assert not (layout.run / "root/15").exists()


def test_that_the_list_cannot_be_read_keeps_nothing_else_from_ending(layout, machine):
    write(layout, session())
    machine.clear()
    said = ending.enforce(layout, StateOf(newest(accounts={"admin": ("admin",)})), NOW)
    assert [line.split(":")[0] for line in said] == [
        "warning",
        "ended session 13 of member",
    ]


def named(name):
    """Start a program of this name that waits; return its process."""
    code = (
        "import ctypes, sys, time; "
        f"ctypes.CDLL(None).prctl(15, {name.encode()!r}, 0, 0, 0); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def seen(pid):
    return next((found for found in processes.running() if found.pid == pid), None)


def test_a_name_says_nothing_of_a_process():
    with named(") Z 1 (") as process:
        found = seen(process.pid)
        assert (found.uid, found.pid) == (os.getuid(), process.pid)
        found.send(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL


def test_a_process_whose_leader_ended_still_runs():
    """Its state says zombie for as long as a thread of it goes on."""
    code = (
        "import ctypes, threading, time; "
        "threading.Thread(target=time.sleep, args=(60,)).start(); print(flush=True); "
        "ctypes.CDLL(None).syscall(60, 0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        until = time.monotonic() + 10
        while (
            " Z " not in Path(f"/proc/{process.pid}/stat").read_text() and time.monotonic() < until
        ):
            time.sleep(0.01)
        found = seen(process.pid)
        assert found is not None
        found.send(signal.SIGKILL)
        process.wait(10)


def test_a_process_that_ended_is_not_running():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert seen(process.pid) is None, "it is a zombie"
    process.wait()


def test_a_number_that_another_process_got_is_not_killed():
    with named("other") as process:
        replace(seen(process.pid), started=1).send(signal.SIGKILL)
        assert process.poll() is None
        process.kill()


def test_a_process_that_is_gone_is_no_error():
    process = subprocess.Popen(["true"])
    process.wait()
    Process(process.pid, 1, 0, 0, 1, "", 0).send(signal.SIGKILL)


def test_without_an_enrolment_all_ends_but_break_glass_while_it_lasts(layout, monkeypatch):
    rescue = {"account": "rescue", "principals": ("rescue",), "ca": OFFLINE}
    past = session(number=15, valid_before=NOW - timedelta(minutes=1), **rescue)
    logins = [session(number=13), session(number=14, **rescue), past]
    ended = []
    monkeypatch.setattr(sessions, "all", lambda _: logins)
    monkeypatch.setattr(ending, "_end_sessions", lambda _, __, reasons: ended.extend(reasons))
    monkeypatch.setattr(ending, "end_strays", lambda _: ended.append("strays"))
    layout.ours.mkdir(parents=True)
    layout.break_glass_authorities.write_text(f"{OFFLINE.public}\n")
    ending.end_all(layout, "it is a copy", NOW)
    assert ended == [13, 15, "strays"]
