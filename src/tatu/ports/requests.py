"""What many processes agree on about requests."""

from abc import abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """The answer that an Idempotency-Key got.

    `certificates` names what it carried (authority, serial).
    """

    status: int
    body: bytes
    certificates: tuple[tuple[str, int], ...] = field(default=())


class Idempotency(Protocol):
    """Answers by (caller, method, path, body digest, key): a repeated POST does nothing twice."""

    @abstractmethod
    def begin(self, key: str, digest: str, now: datetime) -> StoredAnswer | None:
        """Claim a key, or return the answer it got.

        Raises `Conflict` when the key was used for another request, or is being worked on
        (a claim without an answer ends after a minute).
        """

    @abstractmethod
    def finish(self, key: str, answer: StoredAnswer) -> None:
        """Keep the answer for a day."""

    @abstractmethod
    def abandon(self, key: str) -> None:
        """Give the claim up: the request failed and may be tried again."""


class Limits(Protocol):
    """Rate limits that all processes share."""

    @abstractmethod
    def take(self, key: str, *, limit: int, window: timedelta, now: datetime) -> None:
        """Count one; raises `TooMany` with the seconds to wait past `limit` in the window.

        A process may lease a sixteenth of the limit, 256 at most: so exact is the count.
        """

    @abstractmethod
    def check(self, key: str, *, window: timedelta, now: datetime) -> None:
        """Raise `TooMany` when `take` has done so in this process and window; count nothing."""
