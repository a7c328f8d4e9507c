"""What hosts tell of themselves: claims of that host, never facts (security.md S19).

Whoever has root on a host can have it say anything; nothing here is ever a reason to revoke.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A host obeys this statement, and with it this KRL; `at` is by the host's clock."""

    authority: str
    host: str
    statement_version: int
    krl_version: int
    krl_digest: str
    at: datetime
    received_at: datetime


class LoginKind(StrEnum):
    """What happened; `lost` stands for events that never came, as many as its detail says."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    SUDO_ACCEPTED = "sudo-accepted"
    SUDO_REFUSED = "sudo-refused"
    ENDED = "ended"
    LOST = "lost"


ADMITTED = frozenset({LoginKind.ACCEPTED, LoginKind.SUDO_ACCEPTED})
"""What let somebody in: the certificate must be one of ours."""


@dataclass(frozen=True, kw_only=True)
class ClaimedCertificate:
    """A certificate as a host names it; the keys are fingerprints."""

    serial: int
    key_id: str
    subject_key: str
    signature_key: str


@dataclass(frozen=True, kw_only=True)
class Login:
    """A login or what became of one; `id` is the host's own, and makes a repeat harmless.

    `certificate` is None for whoever came by other means, where a host allows that.
    """

    id: str
    at: datetime
    kind: LoginKind
    account: str
    certificate: ClaimedCertificate | None = None
    source: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a host found about its own setup; see `tatu-agent doctor`."""

    level: str
    about: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class LiveSession:
    """A session that was open when the host reported; `id` is its audit session's."""

    id: int
    account: str
    certificate: ClaimedCertificate
    since: datetime
    source: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """How a host is doing, as of when it was received."""

    authority: str
    host: str
    received_at: datetime
    agent_version: str
    openssh: str
    os: str
    findings: tuple[Finding, ...]
    sessions: tuple[LiveSession, ...]
