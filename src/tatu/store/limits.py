"""Rate limits that all processes share."""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, select

from tatu.core.errors import Conflict, TooMany
from tatu.ports import Limits
from tatu.store import columns
from tatu.store.bulk import insert_rows
from tatu.store.tables import limits as table
from tatu.store.together import Together

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_SHARE = 16
_MOST_LEASED = 256
"""Of a large limit: what a process held when it was killed counts as used, in every window."""
_REMEMBERED = 10_000
"""Keys whose lease a process remembers; a forgotten lease is only counted as used."""

_STRIPES = 64

# Made once: a fleet that tells at once has a lease for each of its hosts
_USED = (
    select(table.c.key, table.c.window, table.c.used)
    .where(table.c.key.in_(bindparam("keys", expanding=True)))
    .order_by(table.c.key)
    .with_for_update()
)


@dataclass
class _Lease:
    """What is left of a share of one window; `spent`: the window has no more to give."""

    window: int
    left: int
    spent: bool


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A lease that is asked for; `ends_at` is as the database stores it."""

    key: str
    window: int
    limit: int
    ends_at: int


class SqlLimits(Limits):
    """Counts in windows that begin at the same moment everywhere, in small leases."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self._lock = threading.Lock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        # A burst must share one lease: each request with its own would use the limit up at once.
        self._leasing = tuple(threading.Lock() for _ in range(_STRIPES))

    def take(self, key: str, *, limit: int, window: timedelta, now: datetime) -> None:
        """Count one."""
        number = (now - _EPOCH) // window
        ends_at = _EPOCH + (number + 1) * window
        taken = self._take_leased(key, number)
        if taken is None:
            with self._leasing[hash(key) % _STRIPES]:
                taken = self._take_leased(key, number)
                if taken is None:
                    granted = self._lease(key, number, limit, ends_at)
                    left = max(0, granted - 1)
                    self._keep(key, _Lease(window=number, left=left, spent=not granted))
                    taken = granted > 0
        if not taken:
            raise _too_many(window, ends_at - now)

    def check(self, key: str, *, window: timedelta, now: datetime) -> None:
        """Look at the lease, which costs nothing."""
        number = (now - _EPOCH) // window
        with self._lock:
            lease = self._leases.get(key)
            spent = lease is not None and lease.window == number and lease.spent and not lease.left
        if spent:
            raise _too_many(window, _EPOCH + (number + 1) * window - now)

    def _take_leased(self, key: str, number: int) -> bool | None:
        """Take one from the lease; None: another is needed, False: there is none to be had."""
        with self._lock:
            lease = self._leases.get(key)
            if lease is None or lease.window != number:
                return None
            if lease.left:
                lease.left -= 1
                return True
            return False if lease.spent else None

    def _keep(self, key: str, new: _Lease) -> None:
        with self._lock:
            old = self._leases.get(key)
            if old is not None and old.window == new.window:
                new.left += old.left
            self._leases[key] = new
            self._leases.move_to_end(key)
            if len(self._leases) > _REMEMBERED:
                self._leases.popitem(last=False)

    def _lease(self, key: str, number: int, limit: int, ends_at: datetime) -> int:
        wanted = _Wanted(
            key=hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest(),
            window=number,
            limit=limit,
            ends_at=columns.micros(ends_at),
        )
        try:
            return self._together.write(_lease, wanted)
        except Conflict:  # another process made the row meanwhile
            return self._together.write(_lease, wanted)


def _lease(connection: Connection, wanted: Sequence[_Wanted]) -> list[int]:
    """Give each a share of what is left of its window; no two want the same."""
    keys = {"keys": [one.key for one in wanted]}
    found = {row.key: row for row in connection.execute(_USED, keys)}
    granted, new, changed = [], [], []
    for one in wanted:
        row = found.get(one.key)
        used = 0 if row is None or row.window < one.window else row.used
        share = max(0, min(one.limit // _SHARE or 1, _MOST_LEASED, one.limit - used))
        granted.append(share)
        values = (one.key, one.window, used + share, one.ends_at)
        if row is None:
            new.append(values)
        elif share:
            changed.append(values)
    insert_rows(connection, table, new)
    insert_rows(connection, table, changed, replacing=True)
    return granted


def _too_many(window: timedelta, left: timedelta) -> TooMany:
    return TooMany(f"too many requests in {window}", retry_after=max(1, math.ceil(left / _SECOND)))
