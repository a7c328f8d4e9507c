"""Ids as the original writes them: of a UUID the 32 digits, however it was given.

Nothing is altered but the dashes and the case of a UUID: the ids that Keystone gives to users of
a directory have 64 digits, others have any form.
"""

import re
from typing import Annotated

from msgspec import Meta

from tatu.core.identity import MAX_ID

_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]+$(?!\n)"
AnyId = Annotated[str, Meta(pattern=_PLAIN, max_length=MAX_ID)]
AnyName = Annotated[str, Meta(pattern=_PLAIN, max_length=255)]

_DIGITS = re.compile(r"[0-9a-f]{32}")
_GROUPS = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})")


def undashed(text: str) -> str:
    """Return a UUID as its 32 digits in lower case, any other id as it is."""
    lowered = text.lower()
    if _DIGITS.fullmatch(lowered):
        return lowered
    groups = _GROUPS.fullmatch(lowered)
    return text if groups is None else "".join(groups.groups())


def dashed(text: str) -> str:
    """Return a UUID in its five groups, as clouds write those of instances; others as they are."""
    digits = undashed(text)
    if not _DIGITS.fullmatch(digits):
        return text
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def spellings(text: str) -> tuple[str, ...]:
    """Return the ids that mean the same as this one, each once."""
    return tuple(dict.fromkeys((undashed(text), dashed(text), text)))
