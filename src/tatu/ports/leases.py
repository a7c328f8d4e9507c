"""Who of many processes does what only one may."""

from abc import abstractmethod
from datetime import datetime
from typing import Protocol


class Leases(Protocol):
    """What one process of a deployment does at a time."""

    @abstractmethod
    def take(self, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """Take a lease that nobody else has `now`, or keep one's own, until a later time.

        Return whether it is the holder's. Whoever dies with it lets go of it at that time.
        """

    @abstractmethod
    def release(self, name: str, holder: str) -> None:
        """Give a lease up; no error when it is another's by now."""
