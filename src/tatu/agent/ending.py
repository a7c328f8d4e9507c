"""Ends the sessions whose certificates would not open them now (security.md S16).

What belongs to a session goes by what only root can change: the audit session id that a login's
processes inherit, the login uid, the cgroup of logind, the real uid. `setsid`, `nohup`, tmux and
a double fork change none of it. A process of a managed account that is in no recorded session
(cron, at, a user's systemd, `su`) has no certificate and is ended as well.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tatu.agent import accounts, files, processes, sessions, signatures, spool
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.processes import NOBODY, Process
from tatu.agent.sessions import Session
from tatu.agent.state import State, floored
from tatu.agent.statement import Statement

_GRACE = 1.0
"""Seconds that a login may take from getting its audit session to being recorded."""
_DEADLINE = 10.0
_PAUSE = 0.02
_MAX_TOLD = 2**20
_CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_SCOPE = re.compile(r"/(?!.*\.\./).*/session-\w+\.scope")
_PTS = 136
"""The major number of the devices in /dev/pts."""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_CLOSED = "closed"
_SHOWN = 10


def enforce(layout: Layout, state: State, now: datetime) -> list[str]:
    """End what may not go on, and return what an operator should know.

    Tells Tatu, by the spool, of each session that began or ended. Raises `AgentError`.
    """
    newest, records = state.newest, sessions.all(layout)
    _tell_begun(layout, records)
    said, reasons = _reasons(layout, records, newest, floored(now, newest))
    for session in records:
        if session.id in reasons and _had_root(layout, session, newest):
            reasons[session.id] += "; it had root, and may have left what nobody can find"
    left = _end_sessions(records, reasons) + end_strays(layout)
    for session in records:
        if session.id in reasons:
            said.append(f"ended session {session.id} of {session.account}: {reasons[session.id]}")
    if left:
        numbers = ", ".join(str(process.pid) for process in left[:_SHOWN])
        said.append(f"warning: {len(left)} processes go on that should have ended: {numbers}")
    alive = {process.session for process in processes.running()} if records else set()
    for session in records:
        if session.id not in alive:
            _forget(layout, session, reasons.get(session.id, _CLOSED), now)
    return said


def _reasons(
    layout: Layout, records: Collection[Session], newest: Statement, now: datetime
) -> tuple[list[str], dict[int, str]]:
    """Return what went wrong, and why sessions end, by their ids."""
    said = []
    revoked: frozenset[str] = frozenset()
    try:
        lines = {session.certificate.line for session in records}
        revoked = signatures.revoked(lines, layout.krl) if lines else revoked
    except AgentError as error:
        said.append(f"warning: sessions by revoked certificates go on: {error}")
    found = {session.id: reason(session, newest, revoked, now) for session in records}
    return said, {number: why for number, why in found.items() if why}


def reason(
    session: Session, newest: Statement, revoked: Collection[str], now: datetime
) -> str | None:
    """Return why a certificate would not open its account now, or None.

    That one has expired counts by policy only: it says until when it lets in.
    """
    certificate, account, offline = session.certificate, session.account, newest.break_glass
    signer, names = certificate.signature_key, newest.accounts.get(account, ())
    is_offline = offline and account == offline.account and signer in offline.authorities
    for why, holds in (
        ("its certificate is revoked", certificate.line in revoked),
        (
            "its certificate has expired",
            newest.end_at_expiry and now >= certificate.valid_before,
        ),
        ("its account is closed", not is_offline and not names),
        (
            "who signed its certificate is no longer trusted",
            not is_offline and signer not in newest.user_authorities,
        ),
        (
            "its certificate no longer opens this account",
            not is_offline and not set(certificate.principals) & set(names),
        ),
    ):
        if holds:
            return why
    return None


def _had_root(layout: Layout, session: Session, newest: Statement) -> bool:
    """Say whether a session became root: by a check that passed, or where sudo asks nobody."""
    unasked = session.account in newest.sudo and not newest.pam_sudo
    return unasked or _root_mark(layout, session).exists()


def _root_mark(layout: Layout, session: Session) -> Path:
    """Return what the check of sudo leaves when it lets a session become root."""
    return layout.run / "root" / str(session.id)


@dataclass(frozen=True)
class _Doomed:
    """Which processes end: those of sessions, of their cgroups, and strays; never those kept.

    A stray goes by its session and its uid: an administrator's `su` shares the session with what
    is the administrator's.
    """

    kept: frozenset[int]
    sessions: frozenset[int] = frozenset()
    cgroups: frozenset[str] = frozenset()
    strays: frozenset[tuple[int, int]] = frozenset()

    def running(self) -> list[Process]:
        """Return those that run; the agent is not among them, whoever started it."""
        return [
            process
            for process in processes.running()
            if process.session not in self.kept
            and process.pid != os.getpid()
            and (
                process.session in self.sessions
                or process.cgroup in self.cgroups
                or (process.session, process.uid) in self.strays
            )
        ]


def _end_sessions(records: Collection[Session], reasons: dict[int, str]) -> list[Process]:
    """End the sessions that have a reason, and return what could not be."""
    if not reasons:
        return []
    running = {(process.pid, process.started): process for process in processes.running()}
    ended = [session for session in records if session.id in reasons]
    monitors = [running.get((session.monitor, session.started)) for session in ended]
    doomed = _Doomed(
        kept=frozenset(session.id for session in records if session.id not in reasons),
        sessions=frozenset(reasons),
        # who became root may have got another audit session, but logind's scope stays
        cgroups=frozenset(
            monitor.cgroup for monitor in monitors if monitor and _SCOPE.fullmatch(monitor.cgroup)
        ),
    )
    return _end(doomed, reasons)


def end_strays(layout: Layout) -> list[Process]:
    """End what runs in managed accounts without a recorded session; return what could not be.

    A login is without a record for a moment, so a stray is one that still is after a while.
    """
    uids = frozenset(pwd.getpwnam(name).pw_uid for name in accounts.of(layout).all())
    first = _strays(layout, uids) if uids else frozenset()
    if not first:
        return []
    time.sleep(_GRACE)
    kept = frozenset(session.id for session in sessions.all(layout))
    doomed = _Doomed(kept=kept, strays=first & _strays(layout, uids))
    return _end(doomed, {number: "it has no certificate" for number, _ in doomed.strays})


def _strays(layout: Layout, uids: Collection[int]) -> frozenset[tuple[int, int]]:
    recorded = {session.id for session in sessions.all(layout)}
    return frozenset(
        (process.session, process.uid)
        for process in processes.running()
        if process.session not in recorded
        and (process.uid in uids or (process.login_uid in uids and process.session != NOBODY))
    )


def _end(doomed: _Doomed, reasons: dict[int, str]) -> list[Process]:
    """Tell the users, and kill until nothing is left; return what is left at the deadline."""
    _tell_users(doomed.running(), reasons)
    deadline = time.monotonic() + _DEADLINE
    stopped: set[Process] = set()
    with _frozen(doomed.cgroups):
        while True:
            found = doomed.running()
            if not found or time.monotonic() > deadline:
                return found
            new = set(found) - stopped
            # All are stopped before any is killed: one that is left would start others
            for process in new:
                process.send(signal.SIGSTOP)
            stopped |= new
            if not new or time.monotonic() > deadline - _DEADLINE / 2:
                for process in found:
                    process.send(signal.SIGKILL)
                time.sleep(_PAUSE)


@contextmanager
def _frozen(cgroups: Collection[str]) -> Iterator[None]:
    """Let nothing in the cgroups run meanwhile, where there is a freezer (cgroup v2)."""
    switches = [
        folder / cgroup.lstrip("/") / "cgroup.freeze" for folder in _CGROUPS for cgroup in cgroups
    ]
    try:
        for switch in switches:
            with suppress(OSError):
                switch.write_text("1")
        yield
    finally:
        for switch in switches:
            with suppress(OSError):
                switch.write_text("0")


def _tell_users(doomed: Collection[Process], reasons: dict[int, str]) -> None:
    """Say on their terminals why sessions end; one that takes no more is not waited for."""
    told = {process.terminal: reasons.get(process.session) for process in doomed}
    for terminal, why in told.items():
        if why is None or os.major(terminal) != _PTS:
            continue
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            opened = os.open(f"/dev/pts/{os.minor(terminal)}", flags)
            try:
                os.write(opened, f"\r\nTatu ends this session: {why}.\r\n".encode())
            finally:
                os.close(opened)


def _tell_begun(layout: Layout, records: Collection[Session]) -> None:
    """Spool the logins that have not been; killed in between, one is told twice by the same id."""
    path = layout.run / "told"
    known = set((files.read(path, _MAX_TOLD) or b"").decode().split())
    for session in records:
        if str(session.id) not in known:
            _spool(layout, session, "accepted", session.at, "")
    now = " ".join(str(session.id) for session in records)
    if set(now.split()) != known:
        files.write(path, now.encode(), 0o600)


def _forget(layout: Layout, session: Session, why: str, now: datetime) -> None:
    """Spool that nothing of a session is left, and remove its record."""
    _spool(layout, session, "ended", now, why)
    for path in (_root_mark(layout, session), sessions.folder(layout) / str(session.id)):
        if path.exists():
            files.remove(path)


def _spool(layout: Layout, session: Session, kind: str, at: datetime, detail: str) -> None:
    event = {
        "id": f"{kind}-{session.at:%Y%m%dT%H%M%SZ}-{session.id}",
        "at": at.strftime(_TIME),
        "kind": kind,
        **session.told(),
    }
    spool.append(layout, {**event, "detail": detail} if detail else event)
