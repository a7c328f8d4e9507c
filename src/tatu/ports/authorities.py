"""The ledger's authorities."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.authority import Authority, AuthorityKey, KeyState, Profile
from tatu.ports.common import Page


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An authority as issuing needs it, and the cut-off mark at which it was read."""

    authority: Authority
    blocked_users: frozenset[str]
    blocked_keys: frozenset[str]
    mark: int
    blocked_hosts: frozenset[str] = frozenset()
    held_users: frozenset[str] = frozenset()
    held_hosts: frozenset[str] = frozenset()
    held_origins: frozenset[str] = frozenset()


class Authorities(Protocol):
    """The authorities and the states of their keys."""

    @abstractmethod
    def create(self, authority: Authority, event: Event) -> None:
        """Add an authority. Durable on return. Raises `Conflict` when there is one of this id."""

    @abstractmethod
    def get(self, authority_id: str) -> Authority:
        """Raise `NotFound` when there is none."""

    @abstractmethod
    def snapshot(self, authority_id: str) -> Snapshot:
        """Return an authority with its blocks.

        May be up to 5 s old (its mark tells), but is younger than the last `PermissionEnded` that
        `record` raised here. Raises `NotFound`.
        """

    @abstractmethod
    def list(
        self, *, only: Sequence[str] | None, limit: int, marker: str | None
    ) -> Page[Authority]:
        """Return authorities by id; `only` confines to these ids, None means all."""

    @abstractmethod
    def suffixes(self) -> Mapping[str, str]:
        """Return the DNS suffix of each authority that has one and is not retired, in one read."""

    @abstractmethod
    def change_profile(self, authority_id: str, profile: Profile, event: Event) -> Authority:
        """Replace the profile and grow the revision. Raises `NotFound`."""

    @abstractmethod
    def add_key(self, authority_id: str, key: AuthorityKey, event: Event) -> Authority:
        """Add a NEXT key and grow the revision.

        Raises `NotFound`, or `Conflict` when one is NEXT already.
        """

    @abstractmethod
    def set_key_state(
        self,
        authority_id: str,
        reference: str,
        state: KeyState,
        event: Event,
        *,
        revoked: bool = False,
    ) -> Authority:
        """Move a key: NEXT to ACTIVE retires the one that was active, in the same commit.

        `revoked` also puts the key itself in the KRL: all that it signed is dead.
        A key that stops signing commits a cut-off on `losses.signature_key`.
        Raises `NotFound`, or `Conflict` for a step backwards.
        """

    @abstractmethod
    def retire(self, authority_id: str, event: Event) -> Authority:
        """End an authority: it issues nothing any more, all its certificates are revoked.

        Its hosts are deleted and its names free. Commits a cut-off on the project. Durable,
        idempotent. Raises `NotFound`.
        """

    @abstractmethod
    def touch(self) -> None:
        """Grow the revision of every authority: what their statements say has changed (roles)."""
