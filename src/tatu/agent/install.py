"""From what the agent knows to what sshd reads.

Everything here follows from the state and is written only where it differs, so a run that was
killed, or a file that somebody changed, is put right by the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tatu.agent import (
    accounts,
    breakglass,
    files,
    freshness,
    made,
    place,
    sshd,
    sudoers,
    unattended,
)
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.sshd import Wanted
from tatu.agent.state import MAX_KRL, State, Store
from tatu.agent.statement import Statement

_MARK = b"# Written by tatu-agent; what is changed here is written again.\n"


def install(layout: Layout, store: Store, state: State, now: datetime) -> bool:
    """Bring the host in step with the state, and say whether sshd was reloaded.

    Raises `AgentError`; then sshd's configuration is what it was, and what it reads at each login
    is the newest that was verified.
    """
    newest = state.newest
    for folder in (layout.ours, layout.drop_in.parent):
        made.folder(layout, folder)
    # sshd refuses every key while the list that it is told of is missing, so the list comes first
    place.put(layout, layout.krl, store.krl(state), limit=MAX_KRL)
    # Who lost an account gets in no more before it is locked; who gains one, once all is there
    admit(layout, newest, now)
    failures = accounts.of(layout).keep(newest.managed)
    managed = accounts.of(layout).managed(newest.managed)
    sudoers.keep(layout, managed, newest)
    unattended.keep(layout)
    admit(layout, newest, now)
    place.put(layout, layout.user_authorities, _lines(newest.user_authorities))
    offline = newest.break_glass
    for path, data in (
        (layout.break_glass_authorities, _lines(offline.authorities) if offline else None),
        (layout.notice, freshness.notice(newest) if freshness.refusing(newest, now) else None),
    ):
        if data is not None:
            place.put(layout, path, data)
        elif path.exists():
            files.remove(path)
    reloaded = _configure(layout, store, state, managed, now)
    if failures:
        raise AgentError("; ".join(failures))
    return reloaded


def admit(layout: Layout, newest: Statement, now: datetime) -> None:
    """Write who may log in to which account by a statement of this age.

    A missing or empty file lets nobody in. Needs neither the server nor the list.
    """
    opened = freshness.principals(newest, now)
    managed = accounts.of(layout).managed(newest.managed)
    made.folder(layout, layout.principals)
    _put_principals(layout, {name: opened[name] for name in managed if name in opened})


def _put_principals(layout: Layout, wanted: dict[str, Sequence[str]]) -> None:
    """Write each account's principals, and take away what was written for others."""
    for path in layout.principals.iterdir():
        ours = path.is_file() and (files.read(path, place.MAX_FILE) or b"").startswith(_MARK)
        if ours and path.name not in wanted:
            files.remove(path)
    for name, principals in wanted.items():
        place.put(layout, layout.principals / name, _MARK + _lines(principals))


def _configure(
    layout: Layout, store: Store, state: State, managed: Sequence[str], now: datetime
) -> bool:
    """Put certificates and the drop-in in place, prove their effect, reload sshd if need be."""
    newest = state.newest
    certificates = {layout.certificate(key): line for key, line in state.certificates.items()}
    wanted = {path: f"{line}\n".encode() for path, line in certificates.items()}
    meant = Wanted(
        certificates=tuple(certificates),
        break_glass=breakglass.door(layout, newest.break_glass),
        refusing=freshness.refusing(newest, now),
    )
    wanted[layout.drop_in] = sshd.drop_in(layout, meant)
    before = {path: files.read(path, place.MAX_FILE) for path in (*wanted, layout.sshd_config)}
    if any(before[path] != data for path, data in wanted.items()):
        sshd.check(layout, wanted[layout.drop_in])
    # Whoever was killed in the midst left what nobody tried: it is not what to go back to
    before[layout.drop_in] = files.read(layout.good_drop_in, place.MAX_FILE)
    answering: list[tuple[str, int]] = []
    try:
        for path, data in wanted.items():
            place.put(layout, path, data)
        included = sshd.include(layout)
        digest = _digest([*sorted(wanted.items()), included])
        pending = digest != store.noted("loaded")
        proof = _digest([sshd.read(layout), meant, managed])
        if proof != store.noted("proven"):
            sshd.prove(layout, meant, managed)
            store.note("proven", proof)
        if pending:
            answering = sshd.answering(layout)
            sshd.reload(layout)
            sshd.check_answers(answering)
    except AgentError:
        _restore(layout, before)
        if answering:
            sshd.recover(layout, answering)
        raise
    if pending:
        place.put(layout, layout.good_drop_in, wanted[layout.drop_in], 0o600)
        store.note("loaded", digest)
    return pending


def _digest(value: object) -> bytes:
    return hashlib.sha256(repr(value).encode()).hexdigest().encode()


def _restore(layout: Layout, before: dict[Path, bytes | None]) -> None:
    """Put back what stood, what names others first."""
    for path, data in reversed(list(before.items())):
        if data is None:
            files.remove(path)
        else:
            place.put(layout, path, data, place.mode(path))


def _lines(texts: Sequence[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()
