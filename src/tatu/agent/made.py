"""What the agent made on this machine, besides files of its own: so that it can be undone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tatu.agent import files, place
from tatu.agent.layout import Layout

_MAX_SIZE = 65_536


@dataclass(frozen=True)
class Made:
    """Whether the group was made, which folders, and which account was being made last.

    Each is written down before it is made: a run may be killed in between.
    """

    group: bool = False
    folders: tuple[str, ...] = ()
    making: str | None = None


def load(layout: Layout) -> Made:
    """Return what was made; a record that is damaged says nothing, so that nothing is undone."""
    try:
        made = Made(**json.loads(files.read(layout.made, _MAX_SIZE) or b"{}"))
        return Made(bool(made.group), tuple(map(str, made.folders)), made.making)
    except (ValueError, TypeError, RecursionError):
        return Made()


def save(layout: Layout, made: Made) -> None:
    """Remember; raises `AgentError`."""
    files.write(layout.made, json.dumps(asdict(made), sort_keys=True).encode(), 0o600)


def folder(layout: Layout, path: Path) -> None:
    """Make a folder of the system's, and those above it, unless they are there.

    Raises `AgentError`.
    """
    new = [each for each in (path, *path.parents) if not each.exists()]
    if new:
        record = load(layout)
        folders = {*record.folders, *map(str, new)}
        save(layout, replace(record, folders=tuple(sorted(folders))))
        files.folder(path, 0o755)
        place.label(layout, *reversed(new))
