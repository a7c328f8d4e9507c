"""Our lines in a file of somebody else's: one block at its top, taken out without a trace."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BEGIN = b"# Begin: written by tatu-agent; what is changed here is written again.\n"
_END = b"# End: written by tatu-agent.\n"
_BLOCK = re.compile(re.escape(_BEGIN) + rb".*?" + re.escape(_END), re.DOTALL)


def first(lines: Iterable[str], text: bytes) -> bytes:
    """Return a file's text with these lines before all others, and no other block of ours."""
    return _BEGIN + "".join(f"{line}\n" for line in lines).encode() + _END + without(text)


def without(text: bytes) -> bytes:
    """Return a file's text without our block."""
    return _BLOCK.sub(b"", text)


def present(text: bytes) -> bool:
    """Say whether our block, whatever is in it by now, is in a file's text."""
    return bool(_BLOCK.search(text))
