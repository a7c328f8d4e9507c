"""What runs here and in which session, as the kernel says it (proc(5)); names say nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

NOBODY = 0xFFFFFFFF
"""The login uid, or the audit session, of what no login began."""

PARENT, STARTED = 1, 19
"""Where these stand in what `stat` returns."""

_OF_THE_KERNEL = 0x00200000  # PF_KTHREAD
_MAX_READ = 16 * 2**10
_GET_PARENT, _GET_OWNER = 0xB702, 0xB704  # ioctl_nsfs(2)
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Process:
    """One process; `started` in ticks since the boot, `terminal` as a device number or 0.

    `uid` is whose it is, also where it goes by one of the subordinate uids of an account.
    """

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
            fields = stat(self.pid)
            if int(fields[STARTED]) == self.started:
                os.kill(self.pid, number)


def running() -> list[Process]:
    """Return every process that still runs anything."""
    return list(_running())


def _running() -> Iterator[Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib takes longer than the kernel)
        if not name.isdigit():
            continue
        # it may end between any two of these
        with suppress(*_GONE):
            found = _process(int(name))
            if found:
                yield found


def _process(pid: int) -> Process | None:
    fields = stat(pid)
    # A leader that ended is a zombie for as long as other threads of it run
    is_over = fields[0] in "ZX" and int(fields[17]) <= 1
    if is_over or int(fields[6]) & _OF_THE_KERNEL:
        return None
    status = _read(pid, "status")
    return Process(
        pid=pid,
        started=int(fields[STARTED]),
        # The real one: sshd is an account's for moments, by the effective one, at each login
        uid=_owner(pid, int(status.partition("\nUid:\t")[2].split(None, 1)[0])),
        login_uid=int(_read(pid, "loginuid")),
        session=int(_read(pid, "sessionid")),
        cgroup=_read(pid, "cgroup").rpartition("0::")[2].rstrip("\n"),
        terminal=int(fields[4]),
    )


def _owner(pid: int, real: int) -> int:
    """Return whose a process is: whoever made the user namespace that it got its real uid in.

    An account has uids in those it makes (rootless containers) that are nobody's elsewhere. The
    outermost says it, but not of root: what is root outside too came from there.
    """
    owner = real
    with suppress(OSError), ExitStack() as opened:
        namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, namespace)
        while real:  # until the machine's own, which shows no parent
            parent = fcntl.ioctl(namespace, _GET_PARENT)
            opened.callback(os.close, parent)
            made = fcntl.ioctl(namespace, _GET_OWNER, bytes(4))
            owner = int.from_bytes(made, sys.byteorder) or real  # a service's, made by root
            namespace = parent
    return owner


def stat(pid: int) -> list[str]:
    """Return the fields from the state on: a process may be called `) S 1 (`. Raises OSError."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    opened = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(opened, _MAX_READ).decode(errors="replace")
    finally:
        os.close(opened)
