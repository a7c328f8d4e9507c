"""Small writes of many threads, committed as one.

A fleet tells at the same moment that it obeys a revocation; with a commit for each of its requests
the disk would have the last of them wait for seconds, and with a statement for each the processor.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from tatu.core.errors import TatuError, Unavailable
from tatu.store.database import Database

GROUP = 128
"""Writes in one commit, at most."""

GATHER = 0.005
"""Seconds to wait for more where many write: a commit of ten costs little more than of two."""

T = TypeVar("T")
R = TypeVar("R")

Settle = Callable[[Connection, Sequence[T]], Sequence[R | TatuError]]
"""Writes things of one kind, and says of each what came of it or why it is refused."""


class _Item:
    """What waits to be written, and what became of it."""

    def __init__(self, settle: Settle[Any, Any], wanted: object) -> None:
        self.settle = settle
        self.wanted = wanted
        self.is_done = False
        self.outcome: Any = None


class Together:
    """Whoever comes first writes for all who wait, while the next ones gather."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Item] = []
        self._is_busy = False

    def write(self, settle: Settle[T, R], wanted: T) -> R:
        """Commit what `settle` does with this and whatever waits for the same; it may be repeated.

        Raises what it says of this, and whatever `Database.write` does; what is wrong with one is
        nothing to the others.
        """
        item = _Item(settle, wanted)
        with self._lock:
            self._waiting.append(item)
        while not item.is_done:
            with self._turn:
                if not item.is_done:
                    self._settle(self._gathered())
        if isinstance(item.outcome, Exception):
            raise item.outcome
        result: R = item.outcome
        return result

    def _gathered(self) -> list[_Item]:
        if self._is_busy:
            time.sleep(GATHER)
        with self._lock:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
        self._is_busy = len(group) > 1
        return group

    def _settle(self, group: list[_Item]) -> None:
        outcomes: Sequence[Any]
        try:
            outcomes = self._database.write(lambda connection: _written(connection, group))
        except TatuError as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                for item in group:  # one of them is at fault
                    self._settle([item])
                return
            outcomes = [error] * len(group)
        except Exception as error:  # noqa: BLE001 (who waits must be told)
            outcomes = [error] * len(group)
        for item, outcome in zip(group, outcomes, strict=True):
            item.outcome = outcome
            item.is_done = True


def _written(connection: Connection, group: Sequence[_Item]) -> Sequence[Any]:
    """Write a group, each kind at once."""
    kinds: dict[Settle[Any, Any], list[int]] = {}
    for place, item in enumerate(group):
        kinds.setdefault(item.settle, []).append(place)
    outcomes: list[Any] = [None] * len(group)
    for settle, places in kinds.items():
        found = settle(connection, [group[place].wanted for place in places])
        for place, outcome in zip(places, found, strict=True):
            outcomes[place] = outcome
    return outcomes
