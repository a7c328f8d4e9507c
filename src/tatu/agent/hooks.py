"""The programs that PAM and sshd run, written out of the agent's one file to where they look."""

from __future__ import annotations

import pkgutil
import shlex
import sys
from pathlib import Path

from tatu.agent import made, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

_MODE = 0o755
_PYTHON = Path("/usr/bin/python3")


def command(layout: Layout, name: str) -> str:
    """Return how a hook is run, which is in place then; raises `AgentError`."""
    source = pkgutil.get_data("tatu.agent", f"{name}_hook.py")
    if source is None:
        raise AgentError(f"this agent has no hook {name}")
    made.folder(layout, layout.hooks)
    place.put(layout, layout.hooks / name, source, _MODE)
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
