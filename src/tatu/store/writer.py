"""The grouping writer: many certificates, one commit.

Whoever records waits until the group that holds their row is on disk. While one group is being
committed the next one gathers, so groups grow with the load and a lone request waits for nobody.
"""

import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from tatu.core.errors import PermissionEnded, Standing, TatuError, Unavailable
from tatu.core.losses import Topic
from tatu.store.bulk import insert_rows
from tatu.store.database import Change, Database
from tatu.store.purposes import Certified, clashing
from tatu.store.standing import Same, serial_of
from tatu.store.tables import certificates, cut_offs

GROUP = 256
"""Certificates in one commit, at most: about 20 ms of work."""


@dataclass(kw_only=True, eq=False, slots=True)
class Item:
    """A certificate's row, but for its sequence, with its event, and whoever waits for it.

    With `once` it is recorded only if no other lives that is the same.
    `waiting` is held until `outcome` is known; a future costs ten times as much.
    """

    authority: str
    row: tuple[Any, ...]
    event: str
    mark: int
    topics: frozenset[Topic]
    certified: Certified
    issued_at: datetime
    serial: int
    once: Same | None
    outcome: Exception | None = None
    waiting: threading.Lock = field(default_factory=threading.Lock)


class GroupWriter:
    """One thread of each process, started when it is first needed (and so after a fork)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._closed = False

    def record(self, item: Item) -> None:
        """Commit a certificate with whatever waits.

        Raises `PermissionEnded`, `Standing`, `Conflict` or `Unavailable`.
        """
        item.waiting.acquire()
        with self._lock:
            if self._closed:
                raise Unavailable("the ledger is being closed")
            if self._process != os.getpid():
                self._start()
            self._queue.put(item)
        item.waiting.acquire()  # the writer has let it go
        if item.outcome is not None:
            raise item.outcome

    def close(self) -> None:
        """Commit what waits; refuse what comes later."""
        with self._lock:
            self._closed = True
            thread = self._thread if self._process == os.getpid() else None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _start(self) -> None:
        self._queue = queue.SimpleQueue()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = [first], False
            while len(group) < GROUP and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    last = True
                    break
                group.append(item)
            self._settle(group)
            if last:
                return

    def _settle(self, group: Sequence[Item]) -> None:
        """Commit a group and wake all who wait for it."""
        outcomes: Sequence[Exception | None]
        try:
            outcomes = self._database.change(lambda change: _record(change, group))
        except Unavailable as error:
            outcomes = [error] * len(group)
        except TatuError as error:
            if len(group) > 1:  # one of them is at fault, and the others shall not suffer
                for item in group:
                    self._settle([item])
                return
            outcomes = [error]
        except Exception as error:  # noqa: BLE001 (who waits must be told, and the thread must go on)
            outcomes = [error] * len(group)
        for item, outcome in zip(group, outcomes, strict=True):
            item.outcome = outcome
            item.waiting.release()


def _record(change: Change, group: Sequence[Item]) -> Sequence[TatuError | None]:
    """Insert what no cut-off and no other use of its key forbids; return why each was refused."""
    outcomes: Sequence[TatuError | None] = _refusals(change, group)
    allowed = [item for item, refusal in zip(group, outcomes, strict=True) if refusal is None]
    if allowed:
        now = min(item.issued_at for item in allowed)
        clashes = clashing(change.connection, [item.certified for item in allowed], now)
        if clashes:  # whoever asks again is told what the key is
            outcomes = [
                PermissionEnded("the key became another one meanwhile")
                if refusal is None and item.certified in clashes
                else refusal
                for item, refusal in zip(group, outcomes, strict=True)
            ]
    outcomes = _once(change, group, outcomes)
    rows = [
        (change.append_body(item.authority, item.event).sequence, *item.row)
        for item, refusal in zip(group, outcomes, strict=True)
        if refusal is None
    ]
    if rows:
        insert_rows(change.connection, certificates, rows)
    return outcomes


def _once(
    change: Change, group: Sequence[Item], outcomes: Sequence[TatuError | None]
) -> Sequence[TatuError | None]:
    """Refuse also what lives already, or is recorded just before."""
    found = list(outcomes)
    made: dict[Same, int] = {}
    for at, item in enumerate(group):
        if found[at] is None and item.once is not None:
            serial = made.get(item.once)
            if serial is None:
                serial = serial_of(change.connection, item.once, item.issued_at)
            if serial is None:
                made[item.once] = item.serial
            else:
                found[at] = Standing(serial)
    return found


def _refusals(change: Change, group: Sequence[Item]) -> Sequence[PermissionEnded | None]:
    """Compare each item with the cut-offs that are newer than its mark.

    The head is locked: no cut-off can come between this and the commit. A mark that is
    not reached yet was given by a ledger that is no more (S3).
    """
    oldest = min(item.mark for item in group)
    newest: dict[Topic, int] = {}
    if oldest < change.mark:
        query = select(cut_offs.c.topic, cut_offs.c.mark).where(cut_offs.c.mark > oldest)
        newest = {row.topic: row.mark for row in change.connection.execute(query.order_by("mark"))}
    return [
        PermissionEnded("a permission ended while the certificate was being made")
        if item.mark > change.mark
        or any(newest.get(topic, 0) > item.mark for topic in item.topics)
        else None
        for item in group
    ]
