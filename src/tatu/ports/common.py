"""What every port speaks of: time, randomness and parts of lists."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

Clock = Callable[[], datetime]
"""The time now, aware and in UTC."""


Randomness = Callable[[int], bytes]
"""That many bytes nobody can guess."""


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list; `marker` asks for the part after it, None when there is no more."""

    items: tuple[T, ...]
    marker: str | None
