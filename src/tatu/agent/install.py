"""From what the agent knows to what sshd reads.

Everything here follows from the state and is written only where it differs, so a run that was
killed, or a file that somebody changed, is put right by the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from tatu.agent import (
    accounts,
    breakglass,
    files,
    freshness,
    hooks,
    made,
    place,
    sessions,
    sshd,
    sudo,
    sudoers,
    unattended,
)
from tatu.agent.errors import AgentError, Unfinished
from tatu.agent.layout import Layout
from tatu.agent.sshd import Wanted
from tatu.agent.state import MAX_KRL, State, Store, krl_digest
from tatu.agent.statement import Statement
from tatu.agent.text import WRITTEN

_MARK = f"{WRITTEN}\n".encode()


def install(layout: Layout, store: Store, state: State, now: datetime) -> bool:
    """Bring the host in step with the state, and say whether sshd was reloaded.

    Raises `Unfinished` for accounts alone, after all else. Raises `AgentError`; then sshd's
    configuration is what it was, and what it reads at each login is the newest that was verified.
    """
    newest = state.newest
    for folder in (layout.ours, layout.drop_in.parent):
        made.folder(layout, folder)
    krl = store.krl(state)
    try:
        # sshd refuses every key while the list that it is told of is missing, so it comes first
        place.put(layout, layout.krl, krl, limit=MAX_KRL)
    except AgentError:
        close(layout)  # sshd would let in whom only the new list keeps out
        raise
    # Who lost an account gets in no more before it is locked; who gains one, once all is there
    admit(layout, newest, now)
    alone = unattended.allowed(layout, newest)
    failures = accounts.of(layout).keep(newest.managed, alone)
    managed = accounts.of(layout).managed(newest.managed)
    sudo.ask_for_proof(layout, wanted=newest.pam_sudo)
    sudoers.keep(layout, managed, newest)
    unattended.keep(layout, alone)
    sessions.record_logins(layout)
    admit(layout, newest, now)
    if newest.break_glass:
        hooks.command(layout, breakglass.HOOK)
    for path, data in _read_at_login(layout, newest, now).items():
        if data is not None:
            place.put(layout, path, data)
        elif path.exists():
            files.remove(path)
    reloaded = _configure(layout, store, state, managed, now)
    if failures:
        raise Unfinished("; ".join(failures))
    return reloaded


def expected(layout: Layout, store: Store, state: State, now: datetime) -> dict[Path, bytes]:
    """Return what sshd's files must hold by the state; raises `AgentError`."""
    newest = state.newest
    login = _read_at_login(layout, newest, now)
    return {
        layout.krl: store.krl(state),
        **_principals(layout, newest, now),
        **{path: data for path, data in login.items() if data is not None},
        **read_at_start(layout, state, now)[1],
    }


def _read_at_login(layout: Layout, newest: Statement, now: datetime) -> dict[Path, bytes | None]:
    """Return what sshd reads at each login, besides the list and principals; None: nothing."""
    offline = newest.break_glass
    refusing = freshness.refusing(newest, now)
    return {
        layout.user_authorities: _lines(newest.user_authorities),
        layout.break_glass_authorities: _lines(offline.authorities) if offline else None,
        layout.notice: freshness.notice(newest) if refusing else None,
    }


def read_at_start(layout: Layout, state: State, now: datetime) -> tuple[Wanted, dict[Path, bytes]]:
    """Return what sshd reads when it starts: certificates, and the drop-in that names them."""
    certificates = {layout.certificate(key): line for key, line in state.certificates.items()}
    meant = Wanted(
        certificates=tuple(certificates),
        break_glass=breakglass.door(layout, state.newest.break_glass),
        refusing=freshness.refusing(state.newest, now),
    )
    wanted = {path: f"{line}\n".encode() for path, line in certificates.items()}
    return meant, {**wanted, layout.drop_in: sshd.drop_in(layout, meant)}


def admit(layout: Layout, newest: Statement, now: datetime) -> None:
    """Write who may log in to which account by a statement of this age.

    A missing or empty file lets nobody in. Needs neither the server nor the list, but as long as
    another list is in place, or it is not kept, nobody gains: theirs may be among the certificates
    it lacks. Who loses needs no room on the disk: a file that cannot be written is removed, and
    after all others `AgentError` is raised.
    """
    made.folder(layout, layout.principals)
    wanted = _principals(layout, newest, now)
    failures = _closed(layout, but=wanted)
    is_listed = _is_listed(layout, newest)
    for path, data in wanted.items():
        failures += _put_or_close(layout, path, data, may_gain=is_listed)
    if failures:
        raise AgentError("; ".join(failures))


def _put_or_close(layout: Layout, path: Path, data: bytes, *, may_gain: bool) -> list[str]:
    """Have an account's file hold these lines, or remove it if it has more; say what failed."""
    try:
        place.put(layout, path, data if may_gain else _without_gain(path, data))
    except AgentError as error:
        return [str(error), *(_removed(path) if _lets_in_others(path, data) else [])]
    return []


def _without_gain(path: Path, data: bytes) -> bytes:
    """Return of a file's new lines those that it has already."""
    known = {_MARK, *(files.read(path, place.MAX_FILE) or b"").splitlines(keepends=True)}
    return b"".join(line for line in data.splitlines(keepends=True) if line in known)


def _lets_in_others(path: Path, data: bytes) -> bool:
    """Say whether a file lets in, or might, whom these lines do not."""
    try:
        lines = (files.read(path, place.MAX_FILE) or b"").splitlines(keepends=True)
    except AgentError:
        return True
    return not set(data.splitlines(keepends=True)).issuperset(lines)


def _is_listed(layout: Layout, newest: Statement) -> bool:
    """Say whether sshd reads the list that the statement names, and the agent keeps it."""
    try:
        Store(layout.state).krl_of(newest)
        return krl_digest(files.read(layout.krl, MAX_KRL) or b"") == newest.krl_digest
    except AgentError:
        return False


def close(layout: Layout) -> None:
    """Let nobody in to the managed accounts but by break-glass; raises `AgentError` after all."""
    failures = _closed(layout)
    if failures:
        raise AgentError("; ".join(failures))


def _closed(layout: Layout, but: Collection[Path] = ()) -> list[str]:
    """Remove the files of the managed accounts but for these, and return what went wrong."""
    failures = []
    for path in layout.principals.iterdir() if layout.principals.is_dir() else ():
        if path not in but and _is_ours(path):
            failures += _removed(path)
    return failures


def _is_ours(path: Path) -> bool:
    return path.is_file() and (files.read(path, place.MAX_FILE) or b"").startswith(_MARK)


def _removed(path: Path) -> list[str]:
    """Remove a file, and return what went wrong: one that does not go keeps no other."""
    try:
        files.remove(path)
    except AgentError as error:
        return [str(error)]
    return []


def _principals(layout: Layout, newest: Statement, now: datetime) -> dict[Path, bytes]:
    """Return each account's file of principals."""
    opened = freshness.principals(newest, now)
    managed = [name for name in accounts.of(layout).managed(newest.managed) if name in opened]
    return {layout.principals / name: _MARK + _lines(opened[name]) for name in managed}


def _configure(
    layout: Layout, store: Store, state: State, managed: Sequence[str], now: datetime
) -> bool:
    """Put certificates and the drop-in in place, prove their effect, reload sshd if need be."""
    meant, wanted = read_at_start(layout, state, now)
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
