"""Small writes of many threads, committed as one.

A fleet tells at the same moment that it obeys a revocation; with a commit for each of its requests
the disk would have the last of them wait for seconds.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection

from tatu.core.errors import TatuError, Unavailable
from tatu.store.database import Database

GROUP = 128
"""Writes in one commit, at most."""

T = TypeVar("T")


class _Item:
    """A write that waits, and what became of it."""

    def __init__(self, work: Callable[[Connection], Any]) -> None:
        self.work = work
        self.is_done = False
        self.result: Any = None
        self.error: Exception | None = None


class Together:
    """Whoever comes first writes for all who wait, while the next ones gather."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Item] = []

    def write(self, work: Callable[[Connection], T]) -> T:
        """Commit what `work` does, as `Database.write`; it may be called again.

        What is wrong with one write is nothing to the others.
        """
        item = _Item(work)
        with self._lock:
            self._waiting.append(item)
        while not item.is_done:
            with self._turn:
                if not item.is_done:
                    with self._lock:
                        group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                    self._settle(group)
        if item.error is not None:
            raise item.error
        result: T = item.result
        return result

    def _settle(self, group: list[_Item]) -> None:
        try:
            results = self._database.write(lambda connection: [i.work(connection) for i in group])
        except TatuError as error:
            if len(group) > 1 and not isinstance(error, Unavailable):
                for item in group:  # one of them is at fault
                    self._settle([item])
                return
            _fail(group, error)
        except Exception as error:  # noqa: BLE001 (who waits must be told)
            _fail(group, error)
        else:
            for item, result in zip(group, results, strict=True):
                item.result = result
                item.is_done = True


def _fail(group: list[_Item], error: Exception) -> None:
    for item in group:
        item.error = error
        item.is_done = True
