"""An authority: one project's CA, its keys and the limits of what it signs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tatu.core.errors import Conflict, Gone
from tatu.core.keys import PublicKey


class Purpose(StrEnum):
    """What a key signs, and nothing else (security.md S1)."""

    USER = "user"
    HOST = "host"
    STATEMENT = "statement"


class KeyState(StrEnum):
    """Where a key stands in its life.

    Hosts trust a NEXT key already; an ACTIVE one signs; a RETIRED one is trusted
    until the last of its certificates has ended.
    """

    NEXT = "next"
    ACTIVE = "active"
    RETIRED = "retired"


class KeyAlgorithm(StrEnum):
    """What kinds of key an authority may have."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


@dataclass(frozen=True, kw_only=True)
class AuthorityKey:
    """One key of an authority; `reference` is the key store's name for its private half."""

    reference: str
    purpose: Purpose
    state: KeyState
    public_key: PublicKey
    created_at: datetime
    retired_at: datetime | None = None
    revoked_at: datetime | None = None


EXTENSIONS = frozenset(
    {"permit-X11-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"}
)
"""What a profile may grant; agent forwarding follows from `pam_sudo` alone (security.md S14)."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The limits that an authority puts on what it signs."""

    user_validity: timedelta = timedelta(hours=24)
    max_user_validity: timedelta = timedelta(hours=24)
    host_validity: timedelta = timedelta(days=7)
    extensions: frozenset[str] = frozenset(
        {"permit-pty", "permit-port-forwarding", "permit-user-rc"}
    )
    source_addresses: tuple[str, ...] = ()
    dns_suffix: str = ""
    pam_sudo: bool = False


BACKDATE = timedelta(minutes=5)
"""A certificate begins this long before it is made: a host's clock may be behind."""

MAX_HOST_VALIDITY = timedelta(days=30)

SKEW = timedelta(hours=48)
"""Expired certificates stay in the KRL this long: a host's clock may be slow (security.md S18)."""


RETIRED = "the project of this authority was deleted"


@dataclass(frozen=True, kw_only=True)
class Authority:
    """One project's CA; `id` is the project's id.

    `revision` grows with every change that hosts must learn of. A retired authority issues nothing
    any more, and all that it issued is revoked: its project is gone.
    """

    id: str
    name: str
    profile: Profile
    keys: tuple[AuthorityKey, ...]
    created_at: datetime
    revision: int = 0
    retired_at: datetime | None = None

    def check_not_retired(self) -> None:
        """Raise `Gone` for an authority that issues and admits nothing any more."""
        if self.retired_at is not None:
            raise Gone(RETIRED)

    def active(self, purpose: Purpose) -> AuthorityKey:
        """Return the key that signs for a purpose; raises `Conflict` when none does."""
        for key in self.keys:
            if key.purpose is purpose and key.state is KeyState.ACTIVE and key.revoked_at is None:
                return key
        raise Conflict(f"authority {self.id!r} has no active {purpose} key")

    def trusted(self, purpose: Purpose) -> tuple[AuthorityKey, ...]:
        """Return the keys whose signatures count: all of a purpose but the revoked."""
        return tuple(k for k in self.keys if k.purpose is purpose and k.revoked_at is None)
