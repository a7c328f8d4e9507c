"""The programs that PAM runs, written out of the agent's one file to where PAM looks for them."""

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
    """Return how PAM runs a hook, which is in place then; raises `AgentError`.

    Nothing that a user could set or place beside it is read: not PYTHONPATH, no site packages.
    """
    source = pkgutil.get_data("tatu.agent", f"{name}_hook.py")
    if source is None:
        raise AgentError(f"this agent has no hook {name}")
    path = layout.hooks / name
    made.folder(layout, layout.hooks)
    place.put(layout, path, source, _MODE)
    python = _PYTHON if _PYTHON.exists() else Path(sys.executable)
    return shlex.join([str(python), "-ISE", str(path)])
