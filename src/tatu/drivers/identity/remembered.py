"""Identities that need not be asked for again: few, not for long, and never across a loss (S4)."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tatu.core import losses
from tatu.core.errors import PermissionEnded
from tatu.core.identity import Identity
from tatu.core.losses import Topic
from tatu.ports import CutOffs

_MAX = 4096


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """An identity; up to `mark` none of its topics was cut off."""

    identity: Identity
    topics: frozenset[Topic]
    mark: int


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """Identities by a digest of what proved them, each for a `lifetime` after its validation."""

    lifetime: timedelta
    cut_offs: CutOffs
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def get(self, digest: str, now: datetime) -> Identity | None:
        """Return the identity, unless it is too old, its token expired, or a loss concerns it.

        Raises `Unavailable` when nobody can tell of losses.
        """
        with self._lock:
            found = self._kept.get(digest)
        if found is None:
            return None
        identity = found.identity
        # A clock that was set back must not lengthen anything.
        if not identity.validated_at <= now < identity.validated_at + self.lifetime:
            return None
        if now >= identity.expires_at:
            return None
        try:
            mark = self.cut_offs.check(found.topics, found.mark)
        except PermissionEnded:
            self.forget(digest)
            return None
        if mark > found.mark:
            with self._lock:
                if self._kept.get(digest) is found:
                    self._kept[digest] = replace(found, mark=mark)
        return identity

    def put(self, digest: str, identity: Identity) -> None:
        """Remember an identity, maybe at the cost of the oldest."""
        kept = _Kept(identity=identity, topics=losses.topics(identity), mark=identity.mark)
        with self._lock:
            self._kept[digest] = kept
            self._kept.move_to_end(digest)
            if len(self._kept) > _MAX:
                self._kept.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Drop an identity, because what proved it was ended."""
        with self._lock:
            self._kept.pop(digest, None)
