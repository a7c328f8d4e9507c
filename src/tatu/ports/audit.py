"""The chain of what happened."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from tatu.core.audit import Event, Link


class Audit(Protocol):
    """The chain of events (S23)."""

    @abstractmethod
    def append(self, event: Event) -> Link:
        """Append an event that changed nothing else (a refusal). Durable on return."""

    @abstractmethod
    def read(
        self, *, after: int, limit: int, authorities: Sequence[str] | None = None
    ) -> tuple[Link, ...]:
        """Return links in order, after a sequence; confined to events of these authorities."""

    @abstractmethod
    def head(self) -> tuple[int, str]:
        """Return the last sequence and hash."""
