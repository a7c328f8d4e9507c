"""What the API answers, as far as the client uses it (docs/protocol.md).

Fields that a newer server adds are passed over.
"""

from datetime import datetime

from msgspec import Struct


class Deployment(Struct, frozen=True, kw_only=True):
    """What a deployment says of itself."""

    deployment: str
    identity: str
    url: str


class Challenge(Struct, frozen=True, kw_only=True):
    """What is to be signed for a token."""

    id: str
    message: str
    expires_at: datetime


class Role(Struct, frozen=True, kw_only=True):
    """A role; of the embedded directory it says which account it opens, or why none."""

    id: str
    name: str
    account: str | None = None
    refusal: str | None = None


class Whoami(Struct, frozen=True, kw_only=True):
    """The caller."""

    issuer: str
    subject: str
    name: str
    project: str | None
    roles: list[Role]
    expires_at: datetime
    fresh: bool = False


class Token(Struct, frozen=True, kw_only=True):
    """A bearer token and whose it is."""

    token: str
    expires_at: datetime
    identity: Whoami

    def __repr__(self) -> str:
        """Show no token: a repr ends in logs."""
        return f"Token(identity={self.identity!r})"


class DirectoryEntry(Struct, frozen=True, kw_only=True):
    """A project or user of the directory, which can be disabled; or a group, which cannot."""

    id: str
    name: str
    enabled: bool = True


class UserKey(Struct, frozen=True, kw_only=True):
    """A key that a user signs in with."""

    public_key: str
    fingerprint: str
    created_at: datetime


class Assignment(Struct, frozen=True, kw_only=True):
    """A role in a project, of a user or a group."""

    project: str
    role: str
    user: str | None = None
    group: str | None = None


class AuthorityKey(Struct, frozen=True, kw_only=True):
    """One key of an authority."""

    purpose: str
    state: str
    public_key: str
    fingerprint: str


class Authority(Struct, frozen=True, kw_only=True):
    """An authority as its project sees it."""

    id: str
    name: str
    profile: dict[str, object]
    keys: list[AuthorityKey]
    created_at: datetime
    revision: int
    retired_at: datetime | None = None


class PublicKeys(Struct, frozen=True, kw_only=True):
    """An authority as everybody sees it."""

    authority: str
    name: str
    dns_suffix: str
    keys: list[AuthorityKey]


class LeftOut(Struct, frozen=True, kw_only=True):
    """A role that gave no principal, and why."""

    role: str
    reason: str


class Certificate(Struct, frozen=True, kw_only=True):
    """A line of the ledger; `certificate` is there where one is asked for or made."""

    authority: str
    serial: int
    key_id: str
    principals: list[str]
    valid_after: datetime
    valid_before: datetime
    subject_key: str
    signature_key: str
    issued_at: datetime
    issuer: str | None = None
    subject: str | None = None
    user_name: str | None = None
    host: str | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None
    certificate: str | None = None
    left_out: list[LeftOut] = []


class Revoked(Struct, frozen=True, kw_only=True):
    """What a revocation did."""

    revoked: list[int]
    krl_version: int | None = None


class Block(Struct, frozen=True, kw_only=True):
    """A user, subject key or host that gets no new certificate."""

    id: int
    authority: str
    kind: str
    value: str
    reason: str
    by: str
    at: datetime


class HostKey(Struct, frozen=True, kw_only=True):
    """A host's key, by fingerprint."""

    fingerprint: str


class Receipt(Struct, frozen=True, kw_only=True):
    """A host has shown to obey this statement and KRL."""

    statement_version: int
    krl_version: int
    received_at: datetime


class HostReceipt(Struct, frozen=True, kw_only=True):
    """A host, and whether it has shown to obey the KRL that was asked for.

    `not_enrolled_since`: it was admitted again then, and hears of nothing until it enrols.
    """

    host: str
    done: bool
    receipt: Receipt | None = None
    not_enrolled_since: datetime | None = None


class Receipts(Struct, frozen=True, kw_only=True):
    """How many hosts have shown to obey a KRL; those that have not come first."""

    at_least: int
    hosts: int
    done: int
    items: list[HostReceipt]


class Finding(Struct, frozen=True, kw_only=True):
    """What a host found about its own setup."""

    level: str
    about: str
    detail: str


class Report(Struct, frozen=True, kw_only=True):
    """How a host says it is doing."""

    received_at: datetime
    agent_version: str
    openssh: str
    os: str
    findings: list[Finding]
    sessions: int


class Session(Struct, frozen=True, kw_only=True):
    """A session that a host reported."""

    id: int
    account: str
    serial: int
    key_id: str
    since: datetime
    source: str
    user_name: str | None = None
    alarm: str | None = None


class Login(Struct, frozen=True, kw_only=True):
    """A login as its host told it."""

    authority: str
    host: str
    at: datetime
    kind: str
    account: str
    serial: int | None = None
    user_name: str | None = None
    source: str | None = None
    detail: str | None = None
    alarm: str | None = None


class Host(Struct, frozen=True, kw_only=True):
    """A machine with sshd; what it told last is there when it alone is asked for."""

    id: str
    authority: str
    names: list[str]
    addresses: list[str]
    principals: list[str]
    state: str
    enrolled_at: datetime | None = None
    host_keys: list[HostKey] = []
    refused_at: datetime | None = None
    renewal_due_at: datetime | None = None
    legacy: bool = False
    receipt: Receipt | None = None
    report: Report | None = None


class EnrolmentToken(Struct, frozen=True, kw_only=True):
    """A host's one-time right."""

    token: str
    host: Host
    expires_at: datetime

    def __repr__(self) -> str:
        """Show no secret: a repr ends in logs."""
        return f"EnrolmentToken(host={self.host!r})"


class Enrolled(Struct, frozen=True, kw_only=True):
    """What a redeemed token gave: the text of `HostCertificates`, and its MAC."""

    answer: str
    mac: str


class HostCertificates(Struct, frozen=True, kw_only=True):
    """The certificates of a host's keys, in their order."""

    deployment: str
    authority: str
    host: str
    certificates: list[str]


class KrlName(Struct, frozen=True, kw_only=True):
    """Which KRL a statement goes with."""

    version: int
    digest: str
    url: str


class Statement(Struct, frozen=True, kw_only=True):
    """A signed statement."""

    statement: str
    signature: str
    krl: KrlName


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request failed (RFC 9457)."""

    type: str = ""
    title: str = ""
    detail: str = ""
    request_id: str = ""
