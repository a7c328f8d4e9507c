"""The shapes about hosts that cross the wire: what Tatu knows of them, and what they tell."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tatu.api.schemas import (
    CONTROLS,
    END,
    Answer,
    Armored,
    Body,
    HostId,
    Id,
    Links,
    Paging,
    Query,
    Text,
)
from tatu.core.statement import MAX_SIZE as MAX_STATEMENT

InstanceId = Annotated[
    str, Meta(pattern=rf"^[0-9A-Fa-f]{{8}}(-?)([0-9A-Fa-f]{{4}}\1){{3}}[0-9A-Fa-f]{{12}}{END}")
]
Header = Annotated[str, Meta(pattern=rf"^[!-~]+{END}", max_length=16_384)]
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
        pattern=rf"^[^{CONTROLS}]*{END}",
        max_length=255,
        description="what a host says that something is called, such as a key ID: anything",
    ),
]
TellingId = Annotated[str, Meta(pattern=rf"^[A-Za-z0-9._:-]{{1,64}}{END}")]

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


class CarriedQuery(Query):
    """A request, folded as `core.carried` has it."""

    request: Annotated[str, Meta(pattern=rf"^[A-Za-z0-9_-]+{END}", max_length=16_384)]


class CarriedRequest(Body):
    """A request of an instance that no header would come through with."""

    method: Literal["GET", "POST", "PUT"]
    path: Annotated[str, Meta(pattern=rf"^/v2[!-~]*{END}", max_length=1024)]
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
    krl_digest: Annotated[str, Meta(pattern=rf"^sha256:[0-9a-f]{{64}}{END}")]
    at: Moment
    statement: Annotated[str, Meta(max_length=MAX_STATEMENT)] | None = None
    signature: Armored | None = None


class ReceiptTaken(Answer):
    """Whether the host's certificate names something else than it should."""

    renewal_due: bool


class HostReceiptShown(Answer):
    """A host, and what it has shown to obey; not `done`: not that KRL version yet.

    `not_enrolled_since`: it was admitted again then, and hears of nothing until it enrols.
    """

    host: str
    done: bool
    receipt: ReceiptShown | None = None
    not_enrolled_since: datetime | None = None


class ReceiptList(Answer):
    """How many hosts there are, how many are done, and which: those that are not come first.

    They are those that are enrolled, and those admitted again that have live certificates.
    """

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
    detail: Annotated[str, Meta(pattern=rf"^[^{CONTROLS}]*{END}", max_length=1024)]


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
    """Logins in the order in which they arrived, the latest first."""

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
