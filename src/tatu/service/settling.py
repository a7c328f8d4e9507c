"""Losses that the source told a moment before it knew of them itself (security.md S4).

What it answers until then may be older than the loss, and so may whom it vouches for. So such a
loss is cut off twice: when it is told, and again when the source surely knows of it. Whoever was
validated between the two is asked about anew before the ledger keeps anything of theirs, and what
they got before the second is swept by it.
"""

import threading
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tatu.core.audit import SYSTEM
from tatu.core.losses import Sweep, Topic
from tatu.ports import Clock, IdentityProvider, Ledger
from tatu.service.audit import event

TOGETHER = timedelta(milliseconds=100)
"""The least that is waited for a sweep that settles: what is due soon after comes with it."""


@dataclass(frozen=True, kw_only=True)
class Unswept:
    """Cut-offs that are to be swept now, and the marks of all that may have been told `early`."""

    cut_offs: tuple[Sweep, ...]
    early: frozenset[int]


@dataclass(kw_only=True)
class Settling:
    """Since when this process knows of unswept cut-offs, by its own clock.

    Another process's may be ahead of the source's. What two processes find due at a time is cut
    off once more, which does no harm.
    """

    ledger: Ledger
    identities: IdentityProvider
    clock: Clock
    _since: dict[int, datetime] = field(default_factory=dict, init=False, repr=False)
    _judged: frozenset[int] = field(default=frozenset(), init=False, repr=False)
    _settled: frozenset[int] = field(default=frozenset(), init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def unswept(self) -> Unswept:
        """Return what is to be swept; what was told long enough ago is cut off again before.

        What was judged early is not swept again before that. Raises `Unavailable`.
        """
        with self._lock:
            found = self.ledger.cut_offs.unswept()
            lag = self.identities.lag
            if not lag:
                return Unswept(cut_offs=found, early=frozenset())
            now = self.clock()
            early = self._early(found)
            since = {each.mark: self._since.get(each.mark, now) for each in early}
            due = [each for each in early if now >= since[each.mark] + lag]
            if due:
                self._cut_off_again(due)
                found = self.ledger.cut_offs.unswept()
                early = self._early(found)
            self._since = {each.mark: since.get(each.mark, now) for each in early}
            self._settled &= {each.mark for each in found}
            self._judged &= self._since.keys()
            return Unswept(
                cut_offs=tuple(each for each in found if each.mark not in self._judged),
                early=frozenset(self._since),
            )

    def note_judged(self, marks: Collection[int]) -> None:
        """Remember what was judged early: the next time it is when it was cut off again."""
        with self._lock:
            self._judged |= self._since.keys() & set(marks)

    def due(self) -> timedelta | None:
        """Return how long until something is to be cut off again, None for nothing."""
        with self._lock:
            since = min(self._since.values(), default=None)
        if since is None:
            return None
        return max(since + self.identities.lag - self.clock(), TOGETHER)

    def _early(self, found: Sequence[Sweep]) -> Sequence[Sweep]:
        return [each for each in found if each.of_identities and each.mark not in self._settled]

    def _cut_off_again(self, due: Sequence[Sweep]) -> None:
        """Cut off again, and only then let go of what was cut off before."""
        topics: defaultdict[str, dict[Topic, None]] = defaultdict(dict)
        for each in due:
            topics[each.reason][each.topic] = None
        for reason, some in topics.items():
            told = event("permission.settled", by=SYSTEM, at=self.clock(), subject=reason)
            newest = self.ledger.cut_offs.commit(list(some), reason, told)
            self._settled |= set(range(newest - len(some) + 1, newest + 1))
        self.ledger.cut_offs.swept(*sorted(each.mark for each in due))
