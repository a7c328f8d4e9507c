"""Identities that need not be asked for again: few, and not for long (security.md S4)."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tatu.core.identity import Identity

_MAX = 4096


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """Identities by a digest of what proved them, each for a `lifetime` after its validation."""

    lifetime: timedelta
    _kept: OrderedDict[str, Identity] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def get(self, digest: str, now: datetime) -> Identity | None:
        """Return the identity, unless it is too old or its token has expired."""
        with self._lock:
            found = self._kept.get(digest)
        # A clock that was set back must not lengthen anything.
        if found is None or not found.validated_at <= now < found.validated_at + self.lifetime:
            return None
        return found if now < found.expires_at else None

    def put(self, digest: str, identity: Identity) -> None:
        """Remember an identity, maybe at the cost of the oldest."""
        with self._lock:
            self._kept[digest] = identity
            self._kept.move_to_end(digest)
            if len(self._kept) > _MAX:
                self._kept.popitem(last=False)

    def forget(self, digest: str) -> None:
        """Drop an identity, because what proved it was ended."""
        with self._lock:
            self._kept.pop(digest, None)
