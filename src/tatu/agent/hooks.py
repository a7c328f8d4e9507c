"""The programs that PAM and sshd run, written out of the agent's one file to where they look."""

from __future__ import annotations

import pkgutil
import shlex
import stat
import sys
from pathlib import Path

from tatu.agent import made, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

_FILES = {
    "breakglass": "breakglass_hook.py",
    "session": "session_hook.sh",
    "sudo": "sudo_hook.py",
}
SOURCES = {name: pkgutil.get_data("tatu.agent", file) or b"" for name, file in _FILES.items()}
"""Read at the start: after an upgrade another file is where this program came from."""

_MODE = 0o755
_PYTHON = Path("/usr/bin/python3")


def command(layout: Layout, name: str) -> str:
    """Return how a hook is run, which is in place then; raises `AgentError`."""
    made.folder(layout, layout.hooks)
    place.put(layout, layout.hooks / name, SOURCES[name], _MODE)
    return words(layout, name)


_status = Path.stat


def program(layout: Layout) -> Path:
    """Return what hooks run the agent from: its one file, or the folder that the package is in.

    Raises `AgentError` where others than root may change it: PAM and sshd would run that as root.
    Not so beside a host that is in use (`--root`), whose lines no PAM and no sshd of it reads.
    """
    source = Path(__file__)
    found = source.parents[2]
    if layout.root == Path("/"):
        unsafe = [
            path for path in (source, *source.parents, *found.resolve().parents) if _is_open(path)
        ]
        if unsafe:
            raise AgentError(
                f"{unsafe[0]} is not root's alone, and the agent runs from there: "
                f"install it as {layout.hooks}/tatu-agent"
            )
    return found


def _is_open(path: Path) -> bool:
    """Say whether others than root may change a file or folder; one that is in a zip is none."""
    try:
        found = _status(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_uid != 0 or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def words(layout: Layout, name: str) -> str:
    """Return how a hook is run, whether or not it is there.

    Nothing that a user could set or place beside it is read: not PYTHONPATH, no site packages.
    """
    hook = str(layout.hooks / name)
    if _FILES[name].endswith(".sh"):
        return shlex.join(["/bin/sh", hook])
    python = _PYTHON if _PYTHON.exists() else Path(sys.executable)
    return shlex.join([str(python), "-ISE", hook])
