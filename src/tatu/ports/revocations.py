"""What the ledger takes back: certificates, whole permissions, and what is held of it."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.keys import PublicKey
from tatu.core.losses import Sweep, Topic


@dataclass(frozen=True, kw_only=True)
class RevocationSelector:
    """What to revoke in one authority: exactly one of the fields is set.

    `subject` is a user's id. With `subjects_only` a subject key or serial counts only on
    certificates of that user (S6). With `block` the user, subject key or host also gets no new
    certificate until an administrator clears the block; with `known` only if it had one before.
    """

    authority: str
    serial: int | None = None
    subject_key: str | None = None
    subject: str | None = None
    host: str | None = None
    everything: bool = False
    subjects_only: str | None = None
    block: bool = False
    known: bool = False

    def __str__(self) -> str:
        """Return which field is set, and to what."""
        for kind, value in (
            ("serial", self.serial),
            ("subject-key", self.subject_key),
            ("user", self.subject),
            ("host", self.host),
        ):
            if value is not None:
                return f"{kind} {value}"
        return "everything"


@dataclass(frozen=True, kw_only=True)
class Block:
    """A user (id) or subject key (fingerprint) that gets no new certificate until cleared."""

    id: int
    authority: str
    kind: str
    value: str
    reason: str
    by: str
    at: datetime
    cleared_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RevocationFacts:
    """All that a KRL of an authority says, at one revision: a consistent read.

    `serials` by signature key; expired ones are kept for `authority.SKEW` more (S18).
    """

    revision: int
    serials: Mapping[PublicKey, Sequence[int]]
    blocked_keys: frozenset[str]
    revoked_authorities: frozenset[PublicKey]


class Revocations(Protocol):
    """What has ended."""

    @abstractmethod
    def revoke(self, selector: RevocationSelector, reason: str, event: Event) -> tuple[int, ...]:
        """Revoke what matches and is not revoked yet; return these serials, oldest first.

        Durable on return; idempotent; grows the authority's revision when anything changed, and
        commits a cut-off when it blocks.  Raises `NotFound` when a named serial, key or user never
        had a certificate here, unless it blocks and need not be known: then the block stands.
        """

    @abstractmethod
    def revoke_serials(
        self, serials: Mapping[str, Sequence[int]], reason: str, event: Event
    ) -> int:
        """Revoke serials by authority, for sweeps.

        Return how many were live. Durable, idempotent.
        """

    @abstractmethod
    def blocks(self, authority_id: str) -> tuple[Block, ...]:
        """Return the blocks that stand."""

    @abstractmethod
    def clear_block(self, authority_id: str, block_id: int, event: Event) -> None:
        """Lift a block; certificates stay revoked. Raises `NotFound`."""

    @abstractmethod
    def facts(self, authority_id: str, now: datetime) -> RevocationFacts:
        """Return what the KRL must say. Raises `NotFound`."""


class CutOffs(Protocol):
    """The marks of permissions that ended (S4)."""

    @abstractmethod
    def mark(self) -> int:
        """Return the newest mark."""

    @abstractmethod
    def check(self, topics: Collection[Topic], since: int) -> int:
        """Raise `PermissionEnded` when a cut-off on one of the topics is newer than that mark.

        Return the mark up to which none is. Cheap: what another process committed within the last
        second may be missed.
        """

    @abstractmethod
    def commit(self, topics: Sequence[Topic], reason: str, event: Event) -> int:
        """Commit a cut-off for each topic.

        Return the newest mark. Durable: no `record` can pass it.
        """

    @abstractmethod
    def unswept(self) -> tuple[Sweep, ...]:
        """Return the cut-offs whose certificates may not all be revoked yet."""

    @abstractmethod
    def swept(self, *marks: int) -> None:
        """Note that the certificates of these cut-offs are revoked."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """An inferred loss that the brake holds (S22): what of an authority (`kind`) is `value`.

    `user`, `host`, or `origin` (see `Identity.origin`).
    """

    authority: str
    kind: str
    value: str
    since: datetime


class Holds(Protocol):
    """Losses that were inferred, too many at once to be believed (S22)."""

    @abstractmethod
    def hold(self, held: Sequence[Held], event: Event) -> None:
        """Keep them; who is held gets no new certificate, in every process. Durable on return.

        What is held already keeps its time.
        """

    @abstractmethod
    def standing(self) -> tuple[Held, ...]:
        """Return what is held, the oldest first."""

    @abstractmethod
    def release(self, held: Sequence[Held], event: Event) -> None:
        """Let go of what was found to be no loss, or has become one. Idempotent."""
