"""Our lines in PAM's files: one block in each, put in and taken out without a trace."""

from __future__ import annotations

from collections.abc import Sequence

from tatu.agent import block, files, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

SSHD = "sshd"
SUDO = ("sudo", "sudo-i")
UNATTENDED = ("cron", "crond", "atd")
"""What runs programs in a user's name, asked by nobody who is there."""


def unmanaged(layout: Layout) -> str:
    """Return the module that holds for all but managed accounts."""
    return f"pam_succeed_if.so quiet user notingroup {layout.group}"


def ensure(layout: Layout, service: str, lines: Sequence[str]) -> bool:
    """Have these lines in a service's file, before all others, and say whether it changed.

    So they come first in each phase, before what other files bring in by `@include`, and run
    before any module has read what a user may have written (`pam_env.so user_readenv=1`): a
    program that PAM runs later has a user's LD_PRELOAD in its environment.
    Raises `AgentError` when the service has no file.
    """
    path = layout.pam / service
    before = files.read(path, place.MAX_FILE)
    if before is None:
        raise AgentError(f"{path} is missing: PAM has no such service here")
    return place.put(layout, path, block.first(lines, before), place.mode(path))


def remove(layout: Layout, service: str) -> None:
    """Take our lines out of a service's file; the rest of it is as it was. Raises `AgentError`."""
    path = layout.pam / service
    before = files.read(path, place.MAX_FILE) or b""
    if block.present(before):
        place.put(layout, path, block.without(before), place.mode(path))


def present(layout: Layout, service: str) -> bool:
    """Say whether our lines, whatever they are by now, are in a service's file."""
    return block.present(files.read(layout.pam / service, place.MAX_FILE) or b"")
