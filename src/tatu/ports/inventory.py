"""What machines the cloud has."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine of the cloud; `built_at` is when it was created or last rebuilt."""

    id: str
    project: str
    name: str
    addresses: tuple[str, ...]
    built_at: datetime


class Inventory(Protocol):
    """Tells which machines the cloud has, and what they are called."""

    @abstractmethod
    def instance(self, instance_id: str, *, project: str) -> Instance:
        """Return an instance of a project, with the addresses that are bound to it now (S8).

        Raises `NotFound` only when the cloud says of this very id that the project has no such
        instance, and `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def instances(self) -> Iterator[str]:
        """Yield the ids of all instances as a listing tells: a missing one may be there.

        Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the cloud does not answer."""
