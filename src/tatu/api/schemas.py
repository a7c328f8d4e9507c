"""The shapes that cross the wire; OpenAPI is generated from them, so that they cannot disagree.

In one file, long as it is: it is read as the reference of the wire, and nothing else is in it.
What is about hosts is beside it, in `hostschemas`.

What comes in is refused when it has a field that is not known here, or a text with a control
character in it: a NUL ends a text in some databases, a newline a line in what others parse.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tatu.core.identity import MAX_ID

# `$` matches before a last newline too, in Python: the lookahead takes that way out.
END = r"$(?!\n)"
CONTROLS = r"\x00-\x1f\x7f-\x9f"
_EDGE = rf"[^\s{CONTROLS}]"

Id = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}{END}")]
# as `core.host.host_id` has it; of digits alone it would be read as an address
HostId = Annotated[str, Meta(pattern=rf"^(?![0-9]+$)[a-z0-9][a-z0-9-]{{0,62}}{END}")]
Name = Annotated[
    str, Meta(pattern=rf"^{_EDGE}([^{CONTROLS}]{{0,126}}{_EDGE})?{END}", max_length=128)
]
Fingerprint = Annotated[str, Meta(pattern=rf"^SHA256:[A-Za-z0-9+/]{{43}}{END}")]
Serial = Annotated[int, Meta(ge=1, le=2**63 - 1)]
KeyLine = Annotated[
    str,
    Meta(
        pattern=rf"^[^{CONTROLS}]+{END}",
        max_length=16_384,
        description="an OpenSSH public key",
        extra_json_schema={"format": "ssh-public-key"},
    ),
]
Text = Annotated[str, Meta(pattern=rf"^[^{CONTROLS}]+{END}", max_length=255)]
Subject = Annotated[
    str,
    Meta(
        pattern=rf"^[^{CONTROLS}]+{END}",
        max_length=MAX_ID,
        description="a user's id, as their identity provider writes it",
    ),
]
Command = Annotated[str, Meta(pattern=rf"^[^{CONTROLS}]+{END}", max_length=4096)]
Armored = Annotated[
    str,
    Meta(
        pattern=r"^[\n\r -~]+$",
        max_length=16_384,
        description="an armored SSHSIG",
        extra_json_schema={"format": "ssh-signature"},
    ),
]
Hex = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{END}")]
Seconds = Annotated[int, Meta(ge=1, le=366 * 86400)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Marker = Annotated[str, Meta(pattern=rf"^[!-~]{{1,512}}{END}")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Body(Struct, forbid_unknown_fields=True):
    """What a request says."""


class Query(Struct, forbid_unknown_fields=True):
    """What stands behind the question mark."""


class Answer(Struct, omit_defaults=True):
    """What is answered; a field that says nothing is left out."""


class Paging(Query):
    """Which part of a list."""

    limit: Limit = 100
    marker: Marker | None = None


class Links(Answer):
    """Where to go on."""

    next: str | None = None


# --- the deployment ---------------------------------------------------------------------------


class Link(Answer):
    """A link and what it is."""

    rel: str
    href: str


class VersionEntry(Answer):
    """One version of the API."""

    id: str
    status: str
    links: list[Link]


class Versions(Answer):
    """The versions of the API."""

    versions: list[VersionEntry]


class Version(Answer):
    """What a client must know of a deployment before it signs in.

    `auth_url` is the Keystone that gives its tokens; without one this API does. `watch` is where
    hosts wait for news: a URL, or a path below the one by which they reach this API.
    """

    version: VersionEntry
    deployment: str
    identity: str
    url: str
    auth_url: str = ""
    watch: str = ""


class Health(Answer):
    """The process answers."""

    status: Literal["ok"]


class Readiness(Answer):
    """Whether each part answers; what is not `ok` says why."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, str]


# --- signing in -------------------------------------------------------------------------------


class ChallengeRequest(Body):
    """Who wants to sign in, with which key, for what."""

    user: Name
    project: Name
    public_key: KeyLine
    purpose: Literal["login", "administer"] = "login"


class ChallengeShown(Answer):
    """The text that the key must sign in namespace `login@tatu`."""

    id: str
    message: str
    expires_at: datetime


class TokenRequest(Body):
    """A challenge, signed."""

    challenge: Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,64}}{END}")]
    signature: Armored


class RoleHeld(Answer):
    """A role that the caller has."""

    id: str
    name: str


class WhoAmI(Answer):
    """Who the caller is."""

    issuer: str
    subject: str
    name: str
    project: str | None
    roles: list[RoleHeld]
    expires_at: datetime
    fresh: bool


class TokenShown(Answer):
    """A bearer token: shown this once."""

    token: str
    expires_at: datetime
    identity: WhoAmI


# --- what hosts fetch -------------------------------------------------------------------------


class PublishedKey(Answer):
    """A key that hosts and clients trust."""

    purpose: str
    state: str
    public_key: str
    fingerprint: str


class PublicKeys(Answer):
    """An authority's public keys."""

    authority: str
    name: str
    dns_suffix: str
    keys: list[PublishedKey]


class KrlReference(Answer):
    """The revocation list that a statement names, by the digest of its bytes."""

    version: int
    digest: str
    url: str


class StatementShown(Answer):
    """A statement with its signature; the text is the very one that was signed."""

    statement: str
    signature: str
    krl: KrlReference


class EnrolmentRequest(Body):
    """A host's proof that it holds the token and the keys; never the token's secret."""

    authority: Id
    host: HostId
    nonce: Hex
    host_keys: Annotated[list[KeyLine], Meta(min_length=1, max_length=8)]
    mac: Hex
    signatures: Annotated[list[Armored], Meta(min_length=1, max_length=8)]


class EnrolmentShown(Answer):
    """The answer as text, and its MAC by the token's secret."""

    answer: str
    mac: str


# --- authorities ------------------------------------------------------------------------------


class ProfileShown(Answer):
    """An authority's limits."""

    user_validity: int
    max_user_validity: int
    host_validity: int
    extensions: list[str]
    source_addresses: list[str]
    dns_suffix: str
    pam_sudo: bool


class AuthorityKeyShown(Answer):
    """One key of an authority."""

    purpose: str
    state: str
    public_key: str
    fingerprint: str
    created_at: datetime
    retired_at: datetime | None = None
    revoked_at: datetime | None = None


class AuthorityShown(Answer):
    """An authority; a retired one issues nothing any more: its project was deleted."""

    id: str
    name: str
    profile: ProfileShown
    keys: list[AuthorityKeyShown]
    created_at: datetime
    retired_at: datetime | None
    revision: int


class AuthorityList(Answer):
    """Authorities."""

    items: list[AuthorityShown]
    links: Links


class AuthorityRequest(Body):
    """Whose authority to make: the caller's project unless another is named."""

    project: Id | None = None


class ProfileChange(Body):
    """The limits that change; the others stay."""

    user_validity: Seconds | None = None
    max_user_validity: Seconds | None = None
    host_validity: Seconds | None = None
    extensions: (
        list[
            Literal[
                "permit-X11-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"
            ]
        ]
        | None
    ) = None
    source_addresses: Annotated[list[Text], Meta(max_length=64)] | None = None
    dns_suffix: Annotated[str, Meta(pattern=rf"^[a-z0-9.-]{{0,253}}{END}")] | None = None
    pam_sudo: bool | None = None


class AuthorityChange(Body):
    """What to change of an authority."""

    profile: ProfileChange


class KeyRequest(Body):
    """What the new key is for."""

    purpose: Literal["user", "host", "statement"]


class KeyChange(Body):
    """The state that a key moves to; `revoked` ends all that it signed.

    `at_once` lets a key sign that hosts may not have heard of.
    """

    state: Literal["active", "retired"]
    revoked: bool = False
    at_once: bool = False


# --- certificates -----------------------------------------------------------------------------


class UserCertificateRequest(Body):
    """What certificate is wanted; the proof is the subject key's SSHSIG over just this."""

    public_key: KeyLine
    proof: Armored
    principals: Annotated[list[Text], Meta(min_length=1, max_length=256)] | None = None
    validity: Seconds | None = None
    force_command: Command | None = None
    source_addresses: Annotated[list[Text], Meta(min_length=1, max_length=64)] | None = None


class BatchRequest(Body):
    """Many at once."""

    items: Annotated[list[UserCertificateRequest], Meta(min_length=1, max_length=100)]


class LeftOutShown(Answer):
    """A role that opens no account, and why."""

    role: str
    reason: str


class CertificateShown(Answer):
    """A certificate as the ledger knows it; keys are told by their fingerprints.

    A user's has `issuer`, `subject` and `user_name`, a host's has `host`.
    """

    authority: str
    type: Literal["user", "host"]
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
    left_out: list[LeftOutShown] | None = None


class CertificateList(Answer):
    """Certificates, newest first."""

    items: list[CertificateShown]
    links: Links


class BatchProblem(Answer):
    """Why one of many was refused."""

    type: str
    title: str
    status: int
    detail: str


class BatchItem(Answer):
    """What one of many came to."""

    status: int
    certificate: CertificateShown | None = None
    problem: BatchProblem | None = None


class BatchShown(Answer):
    """What each came to, in the order asked for."""

    items: list[BatchItem]


class CertificateFilters(Paging):
    """Which user certificates."""

    authority: Id | None = None
    subject: Subject | None = None
    subject_key: Fingerprint | None = None
    serial: Serial | None = None
    revoked: bool | None = None
    live: bool | None = None


class HostCertificateFilters(Paging):
    """Which host certificates."""

    authority: Id | None = None
    host: HostId | None = None
    subject_key: Fingerprint | None = None
    serial: Serial | None = None
    revoked: bool | None = None
    live: bool | None = None


class CertificateStatus(Answer):
    """Whether a certificate is valid now."""

    authority: str
    serial: int
    type: Literal["user", "host"]
    status: Literal["valid", "expired", "revoked", "not-yet-valid"]
    revoked_at: datetime | None = None
    reason: str | None = None


# --- revocations ------------------------------------------------------------------------------


class RevocationRequest(Body):
    """What to revoke: exactly one of serial, subject_key, user, host, everything; and why.

    `block` also refuses new certificates to that key, user or host until it is lifted; when it
    is absent, a user, key or host is blocked if the caller may block it and it had a certificate.
    """

    reason: Text
    serial: Serial | None = None
    subject_key: Fingerprint | None = None
    user: Subject | None = None
    host: HostId | None = None
    everything: Literal[True] | None = None
    block: bool | None = None


class RevocationShown(Answer):
    """The serials that this request revoked, and the version of the KRL that has them."""

    revoked: list[int]
    krl_version: int | None


class BlockShown(Answer):
    """A user, subject key or host that gets no new certificate."""

    id: int
    authority: str
    kind: str
    value: str
    reason: str
    by: str
    at: datetime


class BlockList(Answer):
    """The blocks that stand."""

    items: list[BlockShown]
    links: Links


# --- the embedded directory -------------------------------------------------------------------


class NamedRequest(Body):
    """A new project, user, group or role; without an id it is given one."""

    name: Name
    id: Id | None = None


class EnabledChange(Body):
    """Whether it may be used."""

    enabled: bool


class ProjectShown(Answer):
    """A project."""

    id: str
    name: str
    enabled: bool


class ProjectList(Answer):
    """Projects."""

    items: list[ProjectShown]
    links: Links


class UserShown(Answer):
    """A user."""

    id: str
    name: str
    enabled: bool


class UserList(Answer):
    """Users."""

    items: list[UserShown]
    links: Links


class UserKeyRequest(Body):
    """A key to sign in with."""

    public_key: KeyLine


class UserKeyShown(Answer):
    """A key that a user signs in with."""

    public_key: str
    fingerprint: str
    created_at: datetime


class UserKeyList(Answer):
    """A user's keys."""

    items: list[UserKeyShown]
    links: Links


class GroupShown(Answer):
    """A group of users."""

    id: str
    name: str


class GroupList(Answer):
    """Groups."""

    items: list[GroupShown]
    links: Links


class RoleShown(Answer):
    """A role, and the account that it opens or why it opens none."""

    id: str
    name: str
    account: str | None = None
    refusal: str | None = None


class RoleList(Answer):
    """Roles."""

    items: list[RoleShown]
    links: Links


class AssignmentBody(Body):
    """A role in a project, for a user or a group."""

    project: Id
    role: Id
    user: Id | None = None
    group: Id | None = None


class AssignmentShown(Answer):
    """A role in a project, held by a user or a group."""

    project: str
    role: str
    user: str | None = None
    group: str | None = None


class AssignmentList(Answer):
    """Who holds which role."""

    items: list[AssignmentShown]
    links: Links


class AssignmentFilters(Query):
    """Which assignments."""

    project: Id | None = None
    user: Id | None = None
    group: Id | None = None


# --- audit ------------------------------------------------------------------------------------


class AuditFilters(Query):
    """Which events: those after a sequence."""

    after: Count = 0
    limit: Limit = 100


class AuditEventShown(Answer):
    """A link of the audit chain; `hash` covers `previous`, the sequence and the body."""

    sequence: int
    previous: str
    body: str
    hash: str


class AuditEventList(Answer):
    """Events in order; between a project's own stand others, so that only all can be checked."""

    items: list[AuditEventShown]
    links: Links
