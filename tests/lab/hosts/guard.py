"""Takes away what a fleet made of this machine's: processes, cgroups, network namespaces.

Run as a program it waits for the end of its standard input, which the kernel brings about when the fleet's owner dies,
however that happens.  What was killed together with its guard is cleared by whoever starts the next fleet: the lock on a
fleet's file tells whether anybody is left.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")

_UNIFIED = _ROOT / "unified" if (_ROOT / "unified").exists() else _ROOT

GROUPS = [_UNIFIED, *(folder for folder in [_ROOT / "systemd"] if folder.exists())]
"""Where a host has a cgroup: the unified hierarchy, and systemd's own where the kernel's first version is in use."""

RUNS = Path(tempfile.gettempdir()) / "tatu-lab-hosts"
"""A file for each fleet of this machine, locked while its owner or its guard lives."""

DEADLINE = 30.0


_JOIN = """
for group in "$1" "$2"; do echo 0 >"$group/cgroup.procs"; done
shift 2
exec "$@"
"""


def within(group: str, command) -> list[str]:
    """Return a command line that does a command in a cgroup of a fleet, so that it ends with it."""
    groups = [root / group for root in GROUPS]
    for each in groups:
        each.mkdir(parents=True, exist_ok=True)
    return ["sh", "-ec", _JOIN, "sh", *map(str, (groups[0], groups[-1], *command))]


def clear(fleet: str) -> None:
    """Leave nothing of a fleet."""
    kill(fleet)
    for namespace in Path("/run/netns").glob(f"{fleet}-*"):
        subprocess.run(["ip", "netns", "del", namespace.name], check=False)
    (RUNS / fleet).unlink(missing_ok=True)


def kill(group: str) -> None:
    """Kill all processes of a cgroup and of those below it, at once, and remove them."""
    unified = _UNIFIED / group
    until = time.monotonic() + DEADLINE
    while unified.exists():
        (unified / "cgroup.kill").write_text("1")
        if "populated 0" in (unified / "cgroup.events").read_text():
            break
        if time.monotonic() > until:
            raise RuntimeError(f"processes of {unified} do not end")
        time.sleep(0.01)
    for root in GROUPS:
        for folder, _, _ in os.walk(root / group, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(folder).rmdir()


def clear_what_the_dead_left() -> None:
    """Clear every fleet whose file nobody holds."""
    RUNS.mkdir(exist_ok=True)
    for file in RUNS.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(file.name)


def main(fleet: str) -> None:
    sys.stdin.read()
    clear(fleet)


if __name__ == "__main__":
    main(sys.argv[1])
