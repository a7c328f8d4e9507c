"""The shapes that cross the wire; OpenAPI is generated from them, so that they cannot disagree.

All in one file, long as it is: it is read as the reference of the wire, and nothing else is in it.

What comes in is refused when it has a field that is not known here, or a text with a control
character in it: a NUL ends a text in some databases, a newline a line in what others parse.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tatu.core.identity import MAX_ID
from tatu.core.statement import MAX_SIZE as MAX_STATEMENT

# `$` matches before a last newline too, in Python: the lookahead takes that way out.
_END = r"$(?!\n)"
_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_EDGE = rf"[^\s{_CONTROLS}]"

Id = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}{_END}")]
# as `core.host.host_id` has it; of digits alone it would be read as an address
HostId = Annotated[str, Meta(pattern=rf"^(?![0-9]+$)[a-z0-9][a-z0-9-]{{0,62}}{_END}")]
InstanceId = Annotated[
    str, Meta(pattern=rf"^[0-9A-Fa-f]{{8}}(-?)([0-9A-Fa-f]{{4}}\1){{3}}[0-9A-Fa-f]{{12}}{_END}")
]
Name = Annotated[
    str, Meta(pattern=rf"^{_EDGE}([^{_CONTROLS}]{{0,126}}{_EDGE})?{_END}", max_length=128)
]
Fingerprint = Annotated[str, Meta(pattern=rf"^SHA256:[A-Za-z0-9+/]{{43}}{_END}")]
Serial = Annotated[int, Meta(ge=1, le=2**63 - 1)]
KeyLine = Annotated[
    str,
    Meta(
        pattern=rf"^[^{_CONTROLS}]+{_END}",
        max_length=16_384,
        description="an OpenSSH public key",
        extra_json_schema={"format": "ssh-public-key"},
    ),
]
Text = Annotated[str, Meta(pattern=rf"^[^{_CONTROLS}]+{_END}", max_length=255)]
Subject = Annotated[
    str,
    Meta(
        pattern=rf"^[^{_CONTROLS}]+{_END}",
        max_length=MAX_ID,
        description="a user's id, as their identity provider writes it",
    ),
]
Command = Annotated[str, Meta(pattern=rf"^[^{_CONTROLS}]+{_END}", max_length=4096)]
Armored = Annotated[
    str,
    Meta(
        pattern=r"^[\n\r -~]+$",
        max_length=16_384,
        description="an armored SSHSIG",
        extra_json_schema={"format": "ssh-signature"},
    ),
]
Header = Annotated[str, Meta(pattern=rf"^[!-~]+{_END}", max_length=16_384)]
Hex = Annotated[str, Meta(pattern=rf"^[0-9a-f]{{64}}{_END}")]
Seconds = Annotated[int, Meta(ge=1, le=366 * 86400)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Marker = Annotated[str, Meta(pattern=rf"^[!-~]{{1,512}}{_END}")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
AnyVersion = Annotated[int, Meta(ge=1, le=2**63 - 1)]
# msgspec takes no bound beyond 63 bits: `api.told` refuses what is over 64
AnySerial = Annotated[
    int,
    Meta(
        ge=0,
        description="whoever signed: any 64 bits",
        extra_json_schema={"maximum": 2**64 - 1},
    ),
]
Moment = Annotated[datetime, Meta(tz=True)]
Told = Annotated[
    str,
    Meta(
        pattern=rf"^[^{_CONTROLS}]*{_END}",
        max_length=255,
        description="what a host says that something is called, such as a key ID: anything",
    ),
]
TellingId = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9._:-]{{1,64}}{_END}")]


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

    challenge: Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]{{1,64}}{_END}")]
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
    dns_suffix: Annotated[str, Meta(pattern=rf"^[a-z0-9.-]{{0,253}}{_END}")] | None = None
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


# --- hosts ------------------------------------------------------------------------------------


class HostKeyShown(Answer):
    """A host key, by its fingerprint."""

    fingerprint: str


class ReceiptShown(Answer):
    """A host obeys this statement and KRL; `at` is by its clock.

    `proof` is the request that it signed: the `message`, the armored `signature` (`host@tatu`)
    over it, and the `body` of which the message has the digest.
    """

    statement_version: int
    krl_version: int
    krl_digest: str
    at: datetime
    received_at: datetime
    proof: dict[str, str] | None = None


class FindingShown(Answer):
    """What a host found about its own setup."""

    level: str
    about: str
    detail: str


class ReportShown(Answer):
    """How a host says it is doing; `sessions` is how many were open."""

    received_at: datetime
    agent_version: str
    openssh: str
    os: str
    findings: list[FindingShown]
    sessions: int


class HostShown(Answer):
    """A host; `refused_at` is when somebody last came with other keys.

    A `legacy` one may enrol over the original's wire. `renewal_due_at` is since when its names or
    addresses are others than when it enrolled: what names too much is revoked. What it told last
    is left out of lists.
    """

    id: str
    authority: str
    names: list[str]
    addresses: list[str]
    principals: list[str]
    state: Literal["admitted", "enrolled"]
    host_keys: list[HostKeyShown]
    created_at: datetime
    legacy: bool = False
    enrolled_at: datetime | None = None
    refused_at: datetime | None = None
    renewal_due_at: datetime | None = None
    receipt: ReceiptShown | None = None
    report: ReportShown | None = None


class HostList(Answer):
    """Hosts, by authority and id."""

    items: list[HostShown]
    links: Links


class HostFilters(Paging):
    """Which hosts."""

    authority: Id | None = None


class CarriedRequest(Body):
    """A request of an instance that no header would come through with."""

    method: Literal["GET", "POST", "PUT"]
    path: Annotated[str, Meta(pattern=rf"^/v2[!-~]*{_END}", max_length=1024)]
    body: str = ""
    if_none_match: Header | None = None
    host: Header | None = None
    time: Header | None = None
    nonce: Header | None = None
    signature: Header | None = None


class CarriedShown(Answer):
    """Its answer, with the body in base64."""

    status: int
    headers: dict[str, str]
    body: str


class RenewalRequest(Body):
    """Nothing is to be said: Tatu knows what the host is called, and its keys."""


class RenewalShown(Answer):
    """A certificate for each host key of the enrolment, in its order."""

    certificates: list[str]


class EnrolmentTokenRequest(Body):
    """Which host to admit, and what it is called."""

    host: HostId
    names: Annotated[list[Text], Meta(max_length=32)] | None = None
    """A known host keeps its names unless they are given; none: it is called by its id."""
    addresses: Annotated[list[Text], Meta(max_length=32)] | None = None
    """A known host keeps its addresses unless they are given."""
    validity: Annotated[int, Meta(ge=60, le=7 * 86400)] | None = None


class EnrolmentTokenShown(Answer):
    """An enrolment token: shown to whoever admits the host, kept by nobody."""

    token: str
    host: HostShown
    expires_at: datetime


# --- what hosts tell --------------------------------------------------------------------------


class ReceiptRequest(Body):
    """What a host obeys. A statement that Tatu does not know is shown with its signature."""

    statement_version: AnyVersion
    krl_version: AnyVersion
    krl_digest: Annotated[str, Meta(pattern=rf"^sha256:[0-9a-f]{{64}}{_END}")]
    at: Moment
    statement: Annotated[str, Meta(max_length=MAX_STATEMENT)] | None = None
    signature: Armored | None = None


class ReceiptTaken(Answer):
    """Whether the host's certificate names something else than it should."""

    renewal_due: bool


class HostReceiptShown(Answer):
    """A host, and what it has shown to obey; not `done`: not that KRL version yet."""

    host: str
    done: bool
    receipt: ReceiptShown | None = None


class ReceiptList(Answer):
    """How many hosts are enrolled, how many are done, and which: those that are not come first."""

    at_least: int
    hosts: int
    done: int
    items: list[HostReceiptShown]
    links: Links


class ReceiptFilters(Paging):
    """Which KRL version hosts must have, or a later one; the newest unless it is given."""

    at_least: AnyVersion | None = None


class FindingTold(Body):
    """What a host found about its own setup."""

    level: Literal["ok", "info", "warning", "error"]
    about: Told
    detail: Annotated[str, Meta(pattern=rf"^[^{_CONTROLS}]*{_END}", max_length=1024)]


class SessionTold(Body):
    """An open audit session, and the certificate that opened it; keys are fingerprints."""

    id: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    account: Told
    serial: AnySerial
    key_id: Told
    subject_key: Told
    signature_key: Told
    since: Moment
    source: Told


class ReportRequest(Body):
    """How a host is doing."""

    agent_version: Told
    openssh: Told
    os: Told
    findings: Annotated[list[FindingTold], Meta(max_length=200)]
    sessions: Annotated[list[SessionTold], Meta(max_length=1000)]


class SessionShown(Answer):
    """A session that a host reported.

    `user_name` is there when the certificate is one of Tatu's as the host names it; else `alarm`
    says what is wrong.
    """

    id: int
    account: str
    serial: int
    key_id: str
    since: datetime
    source: str
    user_name: str | None = None
    alarm: str | None = None


class SessionList(Answer):
    """The sessions that were open when the host reported; it has not when there is no time."""

    items: list[SessionShown]
    links: Links
    received_at: datetime | None = None


class LoginTold(Body):
    """A login, or what became of one; of the certificate all is told, or nothing."""

    id: TellingId
    at: Moment
    kind: Literal["accepted", "refused", "sudo-accepted", "sudo-refused", "ended"]
    account: Told
    serial: AnySerial | None = None
    key_id: Told | None = None
    subject_key: Told | None = None
    signature_key: Told | None = None
    source: Told = ""
    detail: Told = ""


class LoginsRequest(Body):
    """What happened on a host, and how many events it could not keep."""

    events: Annotated[list[LoginTold], Meta(max_length=100)]
    lost: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


class LoginsTaken(Answer):
    """How many of the events were new."""

    stored: int


class LoginShown(Answer):
    """A login as its host told it.

    `user_name` is there when the certificate is one of Tatu's as the host names it. `alarm`: it
    let somebody in, and is not, or had been revoked by then.
    """

    authority: str
    host: str
    id: str
    at: datetime
    received_at: datetime
    kind: str
    account: str
    serial: int | None = None
    key_id: str | None = None
    subject_key: str | None = None
    signature_key: str | None = None
    source: str | None = None
    detail: str | None = None
    user_name: str | None = None
    alarm: str | None = None


class LoginList(Answer):
    """Logins, those that came last first."""

    items: list[LoginShown]
    links: Links


class LoginFilters(Paging):
    """Which logins; `after` is a time of the hosts' clocks."""

    authority: Id | None = None
    host: HostId | None = None
    account: Told | None = None
    serial: AnySerial | None = None
    kind: (
        Literal["accepted", "refused", "sudo-accepted", "sudo-refused", "ended", "lost"] | None
    ) = None
    after: Moment | None = None
    alarm: bool | None = None


# --- instances --------------------------------------------------------------------------------


class VendordataRequest(Struct, rename={"project_id": "project-id", "instance_id": "instance-id"}):
    """What Nova tells of an instance; the rest of it, user data too, is dropped unread (S21)."""

    project_id: Id
    instance_id: InstanceId


class VendordataShown(Answer):
    """What an instance is told: data, and no code. A token is there only while it can be redeemed.

    `version` is that of this form; the statement keys are the current and the next (S2).
    """

    version: int
    authority: str
    host: str
    url: str
    statement_keys: list[str]
    token: str | None = None


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
