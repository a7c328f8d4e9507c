"""The ledger's certificates: what was promised, and to whom."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.losses import Topic
from tatu.ports.common import Page


@dataclass(frozen=True, kw_only=True)
class IssuedCertificate:
    """A certificate as the ledger keeps it.

    `topics` and `mark` are what `record` compares with the cut-offs. A user certificate has
    `issuer`, `subject`, `user_name`, `roles` (ids) and `origin` (`Identity.origin`); a host
    certificate has `host`. It is `proven` that whoever asked holds the subject key.
    """

    authority: str
    certificate: Certificate
    mark: int
    topics: frozenset[Topic]
    issued_at: datetime
    issuer: str = ""
    subject: str = ""
    user_name: str = ""
    roles: tuple[str, ...] = ()
    host: str = ""
    origin: str = ""
    proven: bool = True


@dataclass(frozen=True, kw_only=True)
class LedgerCertificate:
    """What the ledger tells of a certificate. Times are aware; `revoked_at` None: not revoked."""

    authority: str
    serial: int
    type: CertificateType
    key_id: str
    principals: tuple[str, ...]
    subject_key: str
    signature_key: str
    valid_after: datetime
    valid_before: datetime
    issued_at: datetime
    issuer: str
    subject: str
    user_name: str
    roles: tuple[str, ...]
    host: str
    line: str
    revoked_at: datetime | None
    revoked_reason: str | None
    revoked_by: str | None
    origin: str = ""
    proven: bool = True


@dataclass(frozen=True, kw_only=True)
class CertificateFilter:
    """Which certificates: every part that is not None must match.

    `authorities` is the caller's scope and goes into the SQL (S10); None is for those who may see
    all. Fingerprints are OpenSSH's SHA256 ones. `origin_begins` is how an origin begins.
    """

    authorities: Sequence[str] | None
    type: CertificateType | None = None
    subject: str | None = None
    subject_key: str | None = None
    host: str | None = None
    serial: int | None = None
    live_at: datetime | None = None
    revoked: bool | None = None
    origin: str | None = None
    origin_begins: str | None = None
    role: str | None = None


class Certificates(Protocol):
    """Serials and certificates."""

    @abstractmethod
    def reserve(self, authority_id: str) -> int:
        """Return a serial never given before; serials of an authority are dense, from 1.

        Raises `NotFound`, or `RolledBack` when the ledger is older than its high-water mark.
        """

    @abstractmethod
    def record(self, issued: IssuedCertificate, event: Event) -> None:
        """Commit a certificate and its event; on return both are durable.

        Raises `PermissionEnded` when a cut-off on one of its topics is newer than its mark,
        `Standing` for a user's that is not proven when one that says the same lives, `Conflict`
        when its serial is taken, `Unavailable` when nothing can be committed: then it must not
        leave.
        """

    @abstractmethod
    def get(
        self, authority_id: str, serial: int, *, scope: Sequence[str] | None
    ) -> LedgerCertificate:
        """Raise `NotFound` when there is none or it is out of scope: both read the same."""

    @abstractmethod
    def list(
        self, wanted: CertificateFilter, *, limit: int, marker: str | None
    ) -> Page[LedgerCertificate]:
        """Return certificates, newest first."""
