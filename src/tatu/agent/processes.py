"""What runs here and in which session, as the kernel says it (proc(5)); names say nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NOBODY = 0xFFFFFFFF
"""The login uid, or the audit session, of what no login began."""

_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Process:
    """One process; `started` in ticks since the boot, `terminal` as a device number or 0."""

    pid: int
    started: int
    uid: int
    login_uid: int
    session: int
    cgroup: str
    terminal: int

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended and another may have its number."""
        with suppress(*_GONE):
            fields = _stat(self.pid)
            if int(fields[19]) == self.started:
                os.kill(self.pid, number)


def running() -> list[Process]:
    """Return every process that still runs anything."""
    return list(_running())


def _running() -> Iterator[Process]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        # it may end between any two of these
        with suppress(*_GONE):
            found = _process(int(entry.name))
            if found:
                yield found


def _process(pid: int) -> Process | None:
    fields = _stat(pid)
    # A leader that ended is a zombie for as long as other threads of it run
    if fields[0] in "ZX" and int(fields[17]) <= 1:
        return None
    status = _read(pid, "status")
    return Process(
        pid=pid,
        started=int(fields[19]),
        # The real one: sshd is an account's for moments, by the effective one, at each login
        uid=int(status.partition("\nUid:\t")[2].split()[0]),
        login_uid=int(_read(pid, "loginuid")),
        session=int(_read(pid, "sessionid")),
        cgroup=_read(pid, "cgroup").rpartition("0::")[2].rstrip("\n"),
        terminal=int(fields[4]),
    )


def _stat(pid: int) -> list[str]:
    """Return the fields from the state on: a process may be called `) S 1 (`."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    return (_PROC / str(pid) / name).read_text(errors="replace")
