"""From what the agent knows to what sshd reads.

Everything here follows from the state and is written only where it differs, so a run that was
killed, or a file that somebody changed, is put right by the next run.
"""

from __future__ import annotations

import grp
import hashlib
import pwd
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tatu.agent import files, freshness, sshd
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.sshd import Wanted
from tatu.agent.state import MAX_KRL, State, Store
from tatu.agent.statement import Statement

_MARK = b"# Written by tatu-agent; what is changed here is written again.\n"
_MODE = 0o644
_MAX_FILE = 2**20


def managed(group: str, accounts: Sequence[str]) -> list[str]:
    """Return those of the accounts that exist here and belong to the agent's group."""
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return []
    found = []
    for name in accounts:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_gid == entry.gr_gid or name in entry.gr_mem:
            found.append(name)
    return sorted(found)


def install(layout: Layout, store: Store, state: State, now: datetime) -> bool:
    """Bring the host in step with the state, and say whether sshd was reloaded.

    Raises `AgentError`; then sshd's configuration is what it was, and what it reads at each login
    is the newest that was verified.
    """
    newest = state.newest
    for folder in (layout.ours, layout.drop_in.parent):
        files.folder(folder, 0o755)
    # sshd refuses every key while the list that it is told of is missing, so the list comes first
    _put(layout.krl, store.krl(state), limit=MAX_KRL)
    accounts = admit(layout, newest, now)
    _put(layout.user_authorities, _lines(newest.user_authorities))
    offline = newest.break_glass
    for path, data in (
        (layout.break_glass_authorities, offline and _lines(offline.authorities)),
        (layout.break_glass_principals, offline and _lines([offline.account])),
        (layout.notice, freshness.notice(newest) if freshness.refusing(newest, now) else None),
    ):
        if data is not None:
            _put(path, data)
        elif path.exists():
            files.remove(path)
    return _configure(layout, store, state, accounts, now)


def admit(layout: Layout, newest: Statement, now: datetime) -> list[str]:
    """Write who may log in to which account by a statement of this age; return the accounts.

    A missing or empty file lets nobody in. Needs neither the server nor the list.
    """
    opened = freshness.principals(newest, now)
    accounts = managed(layout.group, newest.managed)
    files.folder(layout.principals, 0o755)
    _put_principals(layout, {name: opened[name] for name in accounts if name in opened})
    return accounts


def _put_principals(layout: Layout, wanted: dict[str, Sequence[str]]) -> None:
    """Write each account's principals, and take away what was written for others."""
    for path in layout.principals.iterdir():
        ours = path.is_file() and (files.read(path, _MAX_FILE) or b"").startswith(_MARK)
        if ours and path.name not in wanted:
            files.remove(path)
    for name, principals in wanted.items():
        _put(layout.principals / name, _MARK + _lines(principals))


def _configure(
    layout: Layout, store: Store, state: State, accounts: Sequence[str], now: datetime
) -> bool:
    """Put certificates and the drop-in in place, prove their effect, reload sshd if need be."""
    newest = state.newest
    certificates = {layout.certificate(key): line for key, line in state.certificates.items()}
    wanted = {path: f"{line}\n".encode() for path, line in certificates.items()}
    meant = Wanted(
        certificates=tuple(certificates),
        break_glass=newest.break_glass.account if newest.break_glass else None,
        refusing=freshness.refusing(newest, now),
    )
    wanted[layout.drop_in] = sshd.drop_in(layout, meant)
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest().encode()
    before = {path: files.read(path, _MAX_FILE) for path in wanted}
    if before != wanted:
        sshd.check(layout, wanted[layout.drop_in])
    pending = digest != store.loaded()
    try:
        for path, data in wanted.items():
            _put(path, data)
        sshd.prove(layout, meant, accounts)
        if pending:
            sshd.reload(layout)
    except AgentError:
        if before != wanted:
            _restore(layout, before)
        raise
    if pending:
        store.note_loaded(digest)
    return pending


def _restore(layout: Layout, before: dict[Path, bytes | None]) -> None:
    """Put back what stood, the drop-in first: it names the others."""
    for path, data in reversed(list(before.items())):
        if data is None:
            files.remove(path)
        else:
            files.write(path, data, _MODE)


def _lines(texts: Sequence[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def _put(path: Path, data: bytes, limit: int = _MAX_FILE) -> None:
    if files.read(path, limit) != data:
        files.write(path, data, _MODE)
