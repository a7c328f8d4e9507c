"""Files of the system that the agent writes, where SELinux enforces with their contexts."""

from __future__ import annotations

from pathlib import Path

from tatu.agent import files
from tatu.agent.layout import Layout
from tatu.agent.signatures import run

MAX_FILE = 2**20
MODE = 0o644


def put(layout: Layout, path: Path, data: bytes, mode: int = MODE, limit: int = MAX_FILE) -> bool:
    """Have a file hold these bytes, and say whether it had to be written; raises `AgentError`."""
    if files.read(path, limit) == data and path.stat().st_mode & 0o7777 == mode:
        return False
    files.write(path, data, mode)
    label(layout, path)
    return True


def mode(path: Path) -> int:
    """Return a file's mode; what one has that is not there yet."""
    return path.stat().st_mode & 0o7777 if path.exists() else MODE


def label(layout: Layout, *paths: Path) -> None:
    """Give what is new the context that the policy wants: sshd may read no other."""
    if layout.selinux.exists():
        run(["restorecon", *map(str, paths)])
