"""Our lines in PAM's files: one block in each, put in and taken out without a trace."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tatu.agent import files, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

_BEGIN = b"# Begin: written by tatu-agent; what is changed here is written again.\n"
_END = b"# End: written by tatu-agent.\n"
_BLOCK = re.compile(re.escape(_BEGIN) + rb".*?" + re.escape(_END), re.DOTALL)


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
    after = _BEGIN + "".join(f"{line}\n" for line in lines).encode() + _END
    after += _BLOCK.sub(b"", before)
    return place.put(layout, path, after, place.mode(path))


def remove(layout: Layout, service: str) -> None:
    """Take our lines out of a service's file; the rest of it is as it was. Raises `AgentError`."""
    path = layout.pam / service
    before = files.read(path, place.MAX_FILE) or b""
    if _BLOCK.search(before):
        place.put(layout, path, _BLOCK.sub(b"", before), place.mode(path))


def present(layout: Layout, service: str) -> bool:
    """Say whether our lines, whatever they are by now, are in a service's file."""
    return bool(_BLOCK.search(files.read(layout.pam / service, place.MAX_FILE) or b""))
