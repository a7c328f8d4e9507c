"""The programs that PAM and sshd run, written out of the agent's one file to where they look."""

from __future__ import annotations

import pkgutil
import shlex
import sys
from pathlib import Path

from tatu.agent import made, place
from tatu.agent.layout import Layout

SOURCES = {
    name: pkgutil.get_data("tatu.agent", f"{name}_hook.py") or b""
    for name in ("breakglass", "session", "sudo")
}
"""Read at the start: after an upgrade another file is where this program came from."""

_MODE = 0o755
_PYTHON = Path("/usr/bin/python3")


def command(layout: Layout, name: str) -> str:
    """Return how a hook is run, which is in place then; raises `AgentError`."""
    made.folder(layout, layout.hooks)
    place.put(layout, layout.hooks / name, SOURCES[name], _MODE)
    return words(layout, name)


def program() -> Path:
    """Return what hooks run the agent from: its one file, or the folder that the package is in."""
    return Path(__file__).parents[2]


def words(layout: Layout, name: str) -> str:
    """Return how a hook is run, whether or not it is there.

    Nothing that a user could set or place beside it is read: not PYTHONPATH, no site packages.
    """
    python = _PYTHON if _PYTHON.exists() else Path(sys.executable)
    return shlex.join([str(python), "-ISE", str(layout.hooks / name)])
