"""Ends processes: those of sessions, of their cgroups, and strays, until none of them is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tatu.agent import processes
from tatu.agent.processes import Process

_READING = 0.3
"""Seconds that sshd has to send what is said on a terminal."""
_FREEZING = 1.0
_DEADLINE = 10.0
_PAUSE = 0.02
_CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_PTS = 136
"""The major number of the devices in /dev/pts."""


@dataclass(frozen=True)
class Doomed:
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


def end(doomed: Doomed, reasons: dict[int, str]) -> list[Process]:
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
        until = time.monotonic() + _FREEZING
        while not all(map(_is_still, switches)) and time.monotonic() < until:
            time.sleep(_PAUSE)
        yield
    finally:
        for switch in switches:
            with suppress(OSError):
                switch.write_text("0")


def is_populated(cgroup: str) -> bool:
    """Say whether anything runs in a cgroup, seen or not: it may be another process by now."""
    for folder in _CGROUPS:
        with suppress(OSError):
            events = folder / cgroup.lstrip("/") / "cgroup.events"
            return "populated 1" in events.read_text()
    return False


def _is_still(switch: Path) -> bool:
    """Say whether nothing runs there any more; what is not there at all is still."""
    try:
        return "frozen 1" in switch.with_name("cgroup.events").read_text()
    except OSError:
        return True


def _tell_users(doomed: Collection[Process], reasons: dict[int, str]) -> None:
    """Say on their terminals why sessions end; one that takes no more is not waited for."""
    told = {process.terminal: reasons.get(process.session) for process in doomed}
    shown = {where: why for where, why in told.items() if why and os.major(where) == _PTS}
    for terminal, why in shown.items():
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
        with suppress(OSError):
            opened = os.open(f"/dev/pts/{os.minor(terminal)}", flags)
            try:
                os.write(opened, f"\r\nTatu ends this session: {why}.\r\n".encode())
            finally:
                os.close(opened)
    if shown:
        time.sleep(_READING)  # for sshd to send it
