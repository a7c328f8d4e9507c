"""One act for all who wait for it: what anybody can ask for is not done once for each."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class _Batch(Generic[T]):
    items: list[T] = field(default_factory=list)
    crowded: threading.Event = field(default_factory=threading.Event)
    done: Future[None] = field(default_factory=Future)


class Shared(Generic[T]):
    """Does `act` with all that was brought meanwhile: one is being done, one waited for.

    Between two there are `pause` seconds, unless `crowd` wait: they must not hold all threads.
    """

    def __init__(self, act: Callable[[Sequence[T]], None], *, pause: float, crowd: int) -> None:
        self._act = act
        self._pause = pause
        self._crowd = crowd
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._next: _Batch[T] | None = None
        self._rested = time.monotonic()

    def bring(self, item: T) -> None:
        """Return, or raise, as the act does that begins after this and has the item."""
        with self._lock:
            leads = self._next is None
            batch = self._next = self._next or _Batch()
            batch.items.append(item)
            if len(batch.items) >= self._crowd:
                batch.crowded.set()
        if leads:
            with self._turn:
                self._lead(batch)
        batch.done.result()

    def _lead(self, batch: _Batch[T]) -> None:
        batch.crowded.wait(max(0, self._rested - time.monotonic()))
        with self._lock:  # who comes from here on is of the next: this act begins now
            self._next = None
        try:
            self._act(batch.items)
        except Exception as error:  # noqa: BLE001 (all who wait are told, not the first alone)
            batch.done.set_exception(error)
        else:
            batch.done.set_result(None)
        self._rested = time.monotonic() + self._pause
