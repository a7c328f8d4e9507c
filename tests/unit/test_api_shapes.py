"""What is told of a request whose shape is wrong: where, and what is wanted, without internals."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from tatu.api import shapes


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=5)]
    at: datetime | None = None
    name: Annotated[str, Meta(pattern="^secret pattern$", max_length=20)] = ""
    words: Annotated[list[str], Meta(max_length=1)] = []
    kind: Literal["a", "b"] = "a"


class Outer(msgspec.Struct):
    inner: Inner


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{}", "`inner` is missing"),
        ('{"inner": {}}', "inner: `count` is missing"),
        ('{"inner": {"count": 1, "x": 2}}', "inner: it has an unknown field `x`"),
        ('{"inner": {"count": "1"}}', "inner.count: it must be a whole number, and is a text"),
        ('{"inner": {"count": 0}}', "inner.count: it must be at least 1"),
        ('{"inner": {"count": 6}}', "inner.count: it must be at most 5"),
        (
            '{"inner": {"count": 1, "at": 1}}',
            "inner.at: it must be a time as 2026-01-31T12:00:00Z or null, and is a whole number",
        ),
        (
            '{"inner": {"count": 1, "at": "now"}}',
            "inner.at: it must be a time as 2026-01-31T12:00:00Z",
        ),
        (
            '{"inner": {"count": 1, "name": "b"}}',
            "inner.name: it has not the form that the API's description tells",
        ),
        (
            '{"inner": {"count": 1, "words": ["a", "b"]}}',
            "inner.words: its length must be at most 1",
        ),
        (
            '{"inner": {"count": 1, "words": [1]}}',
            "inner.words[0]: it must be a text, and is a whole number",
        ),
        ('{"inner": {"count": 1, "kind": "c"}}', "inner.kind: it may not be 'c'"),
        ("[]", "it must be an object, and is a list"),
        ("{", "it is not JSON"),
        ("{x}", "it is not JSON"),
    ],
)
def test_where_it_is_wrong_and_what_is_wanted_is_told(body, said):
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(body, type=Outer)
    assert said == shapes.told(raised.value)
