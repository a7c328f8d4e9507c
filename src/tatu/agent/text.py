"""Texts as the agent writes them, and as it takes them from others."""

from __future__ import annotations

TIME = "%Y-%m-%dT%H:%M:%SZ"
"""How times are told, in UTC; strptime also takes `2026-1-1`."""

WRITTEN = "# Written by tatu-agent; what is changed here is written again."
"""The first line of files that are the agent's alone."""


def plain(text: str, most: int) -> str:
    """Return foreign text as one short line: it may hold anything, and ends on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:most]
