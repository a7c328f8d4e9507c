"""What is wrong with the shape of a request, in words for whoever wrote it."""

import re
from typing import TypeVar

import msgspec

from tatu.core.errors import Malformed

T = TypeVar("T")

_KINDS = {
    "array": "a list",
    "bool": "true or false",
    "datetime": "a time as 2026-01-31T12:00:00Z",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "a text",
}
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than", "==": "exactly"}
_NOT_JSON = "it is not JSON"


def _kinds(match: re.Match[str]) -> str:
    wanted, got = (
        " or ".join(_KINDS.get(kind, kind) for kind in group.split(" | "))
        for group in match.groups()
    )
    return f"it must be {wanted}, and is {got}"


_WORDS = (
    (r"Object missing required field (`.+`)", r"\1 is missing"),
    (r"Object contains (unknown field `.+`)", r"it has an \1"),
    (r"Expected `(.+)`, got `(.+)`", _kinds),
    (r"Expected `str` matching .*", "it has not the form that the API's description tells"),
    (
        r"Expected `.+` of length (\S+) (\d+)",
        lambda match: f"its length must be {_BOUNDS[match[1]]} {match[2]}",
    ),
    (r"Expected `.+` (\S+) (-?\d+)", lambda match: f"it must be {_BOUNDS[match[1]]} {match[2]}"),
    (r"Invalid enum value (.*)", r"it may not be \1"),
    (r"Invalid RFC3339 encoded datetime", f"it must be {_KINDS['datetime']}"),
    (r"JSON is malformed: .*", _NOT_JSON),
    (r"Input data was truncated", _NOT_JSON),
)
"""What the reader of shapes says, whole, and what we say in its place."""


def decoded(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    """Return what JSON says; raises `Malformed`, which names `what` is wrong and where."""
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        raise Malformed(f"{what}: it is not UTF-8") from None
    except msgspec.DecodeError as error:  # its subclass ValidationError names the path
        raise Malformed(f"{what}: {told(error)}") from None
    except RecursionError:
        raise Malformed(f"{what}: it nests too deep") from None


def told(error: msgspec.MsgspecError) -> str:
    """Return where a request is wrong, if it is in a field, and what it should be there."""
    text, _, at = str(error).partition(" - at `$")
    where = at.removesuffix("`").lstrip(".")
    for pattern, words in _WORDS:
        if found := re.fullmatch(pattern, text, re.DOTALL):
            text = words(found) if callable(words) else found.expand(words)
            break
    return f"{where}: {text}" if where else text
