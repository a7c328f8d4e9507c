"""Our lines in PAM's files: one block in each, put in and taken out without a trace."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tatu.agent import files
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

_BEGIN = b"# Begin: written by tatu-agent; what is changed here is written again.\n"
_END = b"# End: written by tatu-agent.\n"
_BLOCK = re.compile(re.escape(_BEGIN) + rb".*?" + re.escape(_END), re.DOTALL)
_MODE = 0o644
_MAX_FILE = 2**20


def ensure(layout: Layout, service: str, lines: Sequence[str]) -> bool:
    """Have these lines in a service's file, before all others, and say whether it changed.

    So they come first in each phase, before what other files bring in by `@include`, and run
    before any module has read what a user may have written (`pam_env.so user_readenv=1`): a
    program that PAM runs later has a user's LD_PRELOAD in its environment.
    Raises `AgentError` when the service has no file.
    """
    path = layout.pam / service
    before = files.read(path, _MAX_FILE)
    if before is None:
        raise AgentError(f"{path} is missing: PAM has no such service here")
    after = _BEGIN + "".join(f"{line}\n" for line in lines).encode() + _END
    after += _BLOCK.sub(b"", before)
    if after == before:
        return False
    files.write(path, after, _MODE)
    return True


def remove(layout: Layout, service: str) -> None:
    """Take our lines out of a service's file; the rest of it is as it was. Raises `AgentError`."""
    path = layout.pam / service
    before = files.read(path, _MAX_FILE) or b""
    after = _BLOCK.sub(b"", before)
    if after != before:
        files.write(path, after, _MODE)


def present(layout: Layout, service: str) -> bool:
    """Say whether our lines, whatever they are by now, are in a service's file."""
    return bool(_BLOCK.search(files.read(layout.pam / service, _MAX_FILE) or b""))
