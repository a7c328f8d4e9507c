"""Ends the sessions whose certificates would not open them now (security.md S16).

What belongs to a session goes by what only root can change: the audit session id that a login's
processes inherit, the login uid, the cgroup of logind, the real uid, or who made the namespace
where that counts. `setsid`, `nohup`, tmux, a double fork and a container change none of it. A
process of a managed account that is in no recorded session (cron, at, a user's systemd, `su`) has
no certificate and is ended as well.
"""

from __future__ import annotations

import pwd
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tatu.agent import (
    accounts,
    files,
    opening,
    processes,
    sessions,
    signatures,
    spool,
    unattended,
)
from tatu.agent.doomed import Doomed, end, is_populated
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.processes import NOBODY, Process
from tatu.agent.sessions import Session
from tatu.agent.state import State, Store, floored
from tatu.agent.statement import Statement
from tatu.agent.text import TIME

_GRACE = 2.0
"""Seconds that a login may take from getting its audit session to being recorded."""
_MAX_TOLD = 2**20
_MAX_LOGIND = 2**14
_SCOPE = re.compile(r"session-[A-Za-z0-9]+\.scope")
_CLOSED = "closed"
_SHOWN = 10


def enforce(layout: Layout, state: State, now: datetime, krl: bytes | None = None) -> list[str]:
    """End what may not go on, and return what an operator should know.

    `krl` is the state's verified list where that could not be kept. Tells Tatu, by the spool, of
    each session that began or ended. Raises `AgentError`.
    """
    newest, records = state.newest, sessions.all(layout)
    said, reasons = _reasons(layout, records, newest, floored(now, newest), krl)
    for session in records:
        if session.id in reasons and _had_root(layout, session, newest):
            reasons[session.id] += "; it had root, and may have left what nobody can find"
    alone = unattended.allowed(layout, newest)
    left = _end_sessions(layout, records, reasons) + end_strays(layout, alone)
    _tell_begun(layout, records)
    for session in records:
        if session.id in reasons:
            said.append(f"ended session {session.id} of {session.account}: {reasons[session.id]}")
    if left:
        numbers = ", ".join(str(process.pid) for process in left[:_SHOWN])
        said.append(f"warning: {len(left)} processes go on that should have ended: {numbers}")
    alive = {process.session for process in processes.running()} if records else set()
    scopes = _scopes(layout, records)
    for session in records:
        if session.id not in alive and not any(map(is_populated, scopes.get(session.id, ()))):
            _forget(layout, session, reasons.get(session.id, _CLOSED), now)
    return said


def end_all(layout: Layout, why: str, now: datetime) -> None:
    """End the sessions of managed accounts, and strays; raises `AgentError`.

    But for what an offline key opened, while its certificate lasts: for when nothing else is.
    """
    keys = files.read(layout.break_glass_authorities, _MAX_TOLD) or b""
    offline = keys.decode(errors="replace").splitlines()
    records = sessions.all(layout)
    reasons = {
        session.id: why
        for session in records
        if session.certificate.signature_key not in offline
        or now >= session.certificate.valid_before
    }
    _end_sessions(layout, records, reasons)
    end_strays(layout)


def _reasons(
    layout: Layout,
    records: Collection[Session],
    newest: Statement,
    now: datetime,
    krl: bytes | None,
) -> tuple[list[str], dict[int, str]]:
    """Return what went wrong, and why sessions end, by their ids."""
    said = []
    revoked: frozenset[str] = frozenset()
    try:
        lines = {session.certificate.line for session in records}
        if lines:
            revoked = signatures.revoked(lines, krl or _newest_list(layout, newest))
    except AgentError as error:
        said.append(f"warning: sessions by revoked certificates go on: {error}")
    found = {session.id: reason(session, newest, revoked, now) for session in records}
    return said, {number: why for number, why in found.items() if why}


def _newest_list(layout: Layout, newest: Statement) -> Path | bytes:
    """Return the list that the agent keeps, or sshd's: there may be no room to put it there."""
    try:
        return Store(layout.state).krl_of(newest)
    except AgentError:
        return layout.krl


def reason(
    session: Session, newest: Statement, revoked: Collection[str], now: datetime
) -> str | None:
    """Return why a certificate would not open its account now, or None.

    That one has expired counts by policy only: it says until when it lets in. But break-glass is
    for so long and no longer: nothing else would end it while nothing reaches this host.
    """
    certificate, account = session.certificate, session.account
    if certificate.line in revoked:
        return "its certificate is revoked"
    counts = newest.end_at_expiry or opening.is_break_glass(certificate, account, newest)
    if counts and now >= certificate.valid_before:
        return "its certificate has expired"
    return opening.objection(certificate, account, newest)


def _had_root(layout: Layout, session: Session, newest: Statement) -> bool:
    """Say whether a session became root: by a check that passed, or where sudo asks nobody."""
    offline = newest.break_glass is not None and session.account == newest.break_glass.account
    unasked = offline or (session.account in newest.sudo and not newest.pam_sudo)
    return unasked or _root_mark(layout, session).exists()


def _root_mark(layout: Layout, session: Session) -> Path:
    """Return what the check of sudo leaves when it lets a session become root."""
    return layout.run / "root" / str(session.id)


def _end_sessions(
    layout: Layout, records: Collection[Session], reasons: dict[int, str]
) -> list[Process]:
    """End the sessions that have a reason, and return what could not be."""
    if not reasons:
        return []
    scopes = _scopes(layout, records)
    doomed = Doomed(
        kept=frozenset(session.id for session in records if session.id not in reasons),
        sessions=frozenset(reasons),
        cgroups=frozenset(each for number in reasons for each in scopes.get(number, ())),
    )
    return end(doomed, reasons)


def _scopes(layout: Layout, records: Collection[Session]) -> dict[int, set[str]]:
    """Return the cgroups that logind may have made, by the ids of the sessions.

    There whoever became root, and with it got another audit session, is still found. Nothing that
    runs is asked for it: what is another process each moment can be held there, and seen. Logind
    names one by the audit session; where it sees none, as in containers, it counts, and only its
    own file about a session says for which process of sshd that was, and when.
    """
    uids = {session.id: _uid(session.account) for session in records}
    names = {session.id: {f"session-{session.id}.scope"} for session in records}
    for counted in _counted(layout) if records else ():
        of_it = [
            session
            for session in records
            if (uids[session.id], session.monitor) == (counted.uid, counted.leader)
            and session.at <= counted.began
        ]
        if of_it:  # of two processes that had this number one after the other the later
            names[max(of_it, key=lambda session: session.at).id].add(counted.scope)
    return {
        number: {f"/user.slice/user-{uid}.slice/{name}" for name in names[number]}
        for number, uid in uids.items()
        if uid is not None
    }


@dataclass(frozen=True)
class _Counted:
    """What logind says of a session: whose it is, by which process, since when, and its scope."""

    uid: int
    leader: int
    began: datetime
    scope: str


def _counted(layout: Layout) -> Iterator[_Counted]:
    for path in layout.logind.glob("*"):
        with suppress(AgentError, KeyError, ValueError, OverflowError):
            told = (files.read(path, _MAX_LOGIND) or b"").decode(errors="replace")
            facts = dict(line.partition("=")[::2] for line in told.splitlines())
            began = datetime.fromtimestamp(int(facts["REALTIME"]) / 1e6, timezone.utc)
            if _SCOPE.fullmatch(facts["SCOPE"]):
                yield _Counted(int(facts["UID"]), int(facts["LEADER"]), began, facts["SCOPE"])


def _uid(account: str) -> int | None:
    """Return an account's uid, or None for one that is gone since it was listed."""
    try:
        return pwd.getpwnam(account).pw_uid
    except KeyError:
        return None


def end_strays(layout: Layout, spared: Collection[str] = ()) -> list[Process]:
    """End what runs in managed accounts without a recorded session; return what could not be.

    But for what runs in accounts that are spared.
    A login is without a record for a moment, so a stray is one that still is after a while.
    """
    names = [name for name in accounts.of(layout).all() if name not in spared]
    uids = {_uid(name) for name in names} - {None}
    first = _strays(layout, uids) if uids else frozenset()
    if not first:
        return []
    time.sleep(_GRACE)
    kept = frozenset(session.id for session in sessions.all(layout))
    doomed = Doomed(kept=kept, strays=first & _strays(layout, uids))
    return end(doomed, {number: "it has no certificate" for number, _ in doomed.strays})


def _strays(layout: Layout, uids: Collection[int | None]) -> frozenset[tuple[int, int]]:
    recorded = {session.id for session in sessions.all(layout)}
    return frozenset(
        (process.session, process.uid)
        for process in processes.running()
        if process.session not in recorded
        and (process.uid in uids or (process.login_uid in uids and process.session != NOBODY))
    )


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
        "at": at.strftime(TIME),
        "kind": kind,
        **session.told(),
    }
    spool.append(layout, {**event, "detail": detail} if detail else event)
