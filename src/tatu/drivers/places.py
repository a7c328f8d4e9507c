"""How many may ask a service at once: one that is asked by all at once answers nobody in time."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tatu.core.errors import Unavailable

PATIENCE = 4.0
"""Seconds to wait for a place: with as long for the answer, Nova's 10 are not over yet."""

_OF_ONE = 2


class Places:
    """So many ask at once, twice as many wait for a place, and all others are told at once.

    Those whom Nova keeps waiting for 10 seconds ask again, and what was worked out for them is
    lost. And each that waits has a thread of the API, which others need. A project has two thirds
    of the seats at most, and one instance two: whoever is in it may read its metadata in a loop.
    """

    def __init__(self, whom: str, count: int) -> None:
        self._whom = whom
        self._count = count
        self._places = threading.BoundedSemaphore(count)
        self._seated: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def place(self, project: str, instance: str) -> Iterator[None]:
        """Ask in here; raises `Unavailable` when there is no seat, or no place in time."""
        seats = {
            (): 3 * self._count,
            (project,): 2 * self._count,
            (project, instance): _OF_ONE,
        }
        with self._lock:
            if any(self._seated[whose] >= most for whose, most in seats.items()):
                raise self._crowded()
            self._seated.update(seats.keys())
        try:
            if not self._places.acquire(timeout=PATIENCE):
                raise self._crowded()
            try:
                yield
            finally:
                self._places.release()
        finally:
            with self._lock:
                self._seated -= Counter(seats.keys())  # which forgets whose there are none of

    def _crowded(self) -> Unavailable:
        return Unavailable(f"too many ask {self._whom} at once; try again")
