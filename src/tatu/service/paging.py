"""Whole lists of the ledger, which gives them in parts."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from tatu.ports import Page

PAGE = 1000

T = TypeVar("T")


def every(part: Callable[..., Page[T]]) -> Iterator[T]:
    """Yield all that a list has; `part` takes its `limit` and `marker`."""
    marker: str | None = None
    while True:
        page = part(limit=PAGE, marker=marker)
        yield from page.items
        marker = page.marker
        if marker is None:
            return
