"""What happened and Tatu has not been told yet: kept on disk, in order, and never too much.

Hooks and the agent append at the same time, so all that is done here holds one lock. What does
not fit is counted, and the number is told instead (security.md S19).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tatu.agent import files
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.text import plain

MAX_SIZE = 4 * 2**20
_MAX_EVENT = 16 * 2**10  # bytes
_MAX_BATCH = 256 * 2**10  # bytes: what the API and proxies before it take is more
MAX_TEXT = 255
"""What Tatu takes: a text that it refused would stop all that follow."""


@dataclass(frozen=True)
class Batch:
    """The oldest events, and how many were lost up to now."""

    events: tuple[dict[str, Any], ...]
    lost: int


def append(layout: Layout, event: dict[str, Any]) -> None:
    """Keep an event, durably; without an `id` it gets one. Raises `AgentError`.

    An event that does not fit is counted as lost.
    """
    told = {
        name: plain(value, MAX_TEXT) if type(value) is str else value
        for name, value in event.items()
    }
    data = json.dumps({"id": secrets.token_hex(16), **told}).encode()
    with _locked(layout) as folder:
        if len(data) > _MAX_EVENT or _size(folder) + len(data) > MAX_SIZE:
            _lose(folder, 1)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(folder / "events", flags, 0o600)
        try:
            # begun anew: a line that a crash cut short spoils no other
            line = b"\n" + data + b"\n"
            if os.write(opened, line) != len(line):
                raise AgentError(f"cannot keep events in {folder}: there is no room")
            os.fsync(opened)
        finally:
            os.close(opened)


def lose(layout: Layout, number: int) -> None:
    """Count what happened and nobody can tell any more; raises `AgentError`."""
    with _locked(layout) as folder:
        _lose(folder, number)


def batch(layout: Layout, n: int) -> Batch:
    """Return at most `n` events, the oldest first, as one request takes; raises `AgentError`."""
    with _locked(layout) as folder:
        events, damaged = _events(folder)
        lost = _lost(folder) + damaged
    fitting: list[dict[str, Any]] = []
    size = 0
    for event in events[:n]:
        size += len(json.dumps(event))
        if fitting and size > _MAX_BATCH:
            break
        fitting.append(event)
    return Batch(tuple(fitting), lost)


def done(layout: Layout, told: Batch) -> None:
    """Forget what Tatu has stored; raises `AgentError`.

    Killed in between, some of it is told again: ids make that harmless.
    """
    ids = {event["id"] for event in told.events}
    with _locked(layout) as folder:
        events, damaged = _events(folder)
        left = [json.dumps(event) for event in events if event["id"] not in ids]
        if ids or damaged:
            files.write(folder / "events", "".join(f"{line}\n" for line in left).encode(), 0o600)
        _lose(folder, damaged - told.lost)


@contextmanager
def _locked(layout: Layout) -> Iterator[Path]:
    files.folder(layout.state, 0o700)
    files.folder(layout.spool, 0o700)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(layout.spool / "lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield layout.spool
        finally:
            os.close(lock)
    except OSError as error:
        raise AgentError(f"cannot keep events in {layout.spool}: {error.strerror}") from error


def _size(folder: Path) -> int:
    try:
        return (folder / "events").stat().st_size
    except FileNotFoundError:
        return 0


def _events(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the events, and how many lines are none."""
    found, damaged = [], 0
    for line in (files.read(folder / "events", 2 * MAX_SIZE) or b"").splitlines():
        if not line:
            continue
        try:
            event = json.loads(line)
            found.append({**event, "id": str(event["id"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged += 1
    return found, damaged


def _lost(folder: Path) -> int:
    text = files.read(folder / "lost", 32) or b""
    return int(text) if text.isdigit() else 0


def _lose(folder: Path, number: int) -> None:
    if number:
        files.write(folder / "lost", str(max(0, _lost(folder) + number)).encode(), 0o600)
