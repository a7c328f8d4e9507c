"""Keys that lie wrapped in the ledger."""

from abc import abstractmethod
from typing import Protocol


class Secrets(Protocol):
    """Wrapped secrets: what a key store keeps in the ledger; opaque bytes here."""

    @abstractmethod
    def put(self, name: str, wrapped: bytes) -> None:
        """Keep a secret. Raises `Conflict` when the name is taken."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """Raise `NotFound` when there is none."""

    @abstractmethod
    def replace(self, name: str, wrapped: bytes, *, old: bytes) -> None:
        """Replace a secret that still reads `old`. Raises `Conflict` when it does not."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Forget a secret; no error when it is gone."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return all names."""
