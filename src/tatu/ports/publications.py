"""The statements and KRLs that hosts obey."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A numbered statement with its signature, and the KRL that it names.

    Never changed once stored.
    """

    authority: str
    version: int
    revision: int
    statement: bytes
    signature: str
    krl_version: int
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewestVersion:
    """The newest publication of an authority (0: none yet), and what it would say now.

    It says all there is when `published`, its own revision, is the authority's `revision`.
    """

    version: int
    published: int
    revision: int


class Publications(Protocol):
    """KRLs and statements as they were signed: every process serves the same bytes."""

    @abstractmethod
    def newest(self, authority_id: str) -> Publication | None:
        """Return the newest, or None when nothing was published yet.

        Raises `NotFound` for no authority.
        """

    @abstractmethod
    def issued_since(
        self, authority_id: str, at: datetime, *, limit: int
    ) -> tuple[Publication, ...]:
        """Return the first publications issued at a time or later, the oldest first."""

    @abstractmethod
    def revision(self, authority_id: str) -> int:
        """Return the authority's revision, uncached and cheap."""

    @abstractmethod
    def versions(self, authorities: Sequence[str]) -> Mapping[str, NewestVersion]:
        """Return how far each authority is, uncached and cheap; what is none is left out."""

    @abstractmethod
    def get(self, authority_id: str, version: int) -> Publication:
        """Return a version. Raises `NotFound`."""

    @abstractmethod
    def is_lost(self, authority_id: str, version: int) -> bool:
        """Whether a version that was signed would have to be here, and is not (S3).

        Those before the oldest that is kept may have been pruned; a restore owned up to those
        before it.
        """

    @abstractmethod
    def prove_lost(self, authority_id: str, version: int) -> None:
        """Note that a version was signed and is lost: the database was rolled back (S3).

        Nothing is signed by the authority until `Ledger.restored`. Kept beside the database, on
        disk on return.
        """

    @abstractmethod
    def krl(self, authority_id: str, version: int) -> bytes:
        """Return a stored KRL. Raises `NotFound`."""

    @abstractmethod
    def store(self, publication: Publication, krl: bytes | None, *, after: int) -> None:
        """Store the successor of version `after` (0: the first), with its KRL when that is new.

        Raises `Conflict` when another process was faster: serve its publication instead.
        """
