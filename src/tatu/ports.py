"""All that Tatu needs from the world outside, and nothing else.

Each method says what it raises and what is durable when it returns, so that one contract suite
holds the fake and every driver to it.  Whatever a library raises, a driver turns into a class of
`core.errors`.  The methods are abstract: a bare `Protocol` would answer None for a forgotten one.

The ledger is one thing in several parts.  Its facts are totally ordered by the audit chain: a
method that changes something takes the chain's head, appends its event and commits both as one.
`mark` counts cut-offs along that order (see `core.losses`).
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from tatu.core.audit import Checkpoint, Event, Link
from tatu.core.authority import Authority, AuthorityKey, KeyAlgorithm, KeyState, Profile
from tatu.core.certificate import Certificate, CertificateToSign, CertificateType
from tatu.core.challenge import Challenge
from tatu.core.claims import Login, LoginKind, Receipt, Report
from tatu.core.host import Host
from tatu.core.identity import Identity, Role
from tatu.core.keys import PublicKey
from tatu.core.losses import Sweep, Topic
from tatu.core.notices import Notice
from tatu.core.statement import Statement

Clock = Callable[[], datetime]
"""The time now, aware and in UTC."""

Randomness = Callable[[int], bytes]
"""That many bytes nobody can guess."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Page(Generic[T]):
    """Part of a list; `marker` asks for the part after it, None when there is no more."""

    items: tuple[T, ...]
    marker: str | None


# --- who asks ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an identity driver sees of a request; header names are lower case.

    Who asks is judged before the body is read: until then `body_digest` is that of no body.
    """

    method: str
    path: str
    body_digest: str
    headers: Mapping[str, str]


class IdentityProvider(Protocol):
    """Tells who a caller is and what roles anyone has now."""

    @property
    @abstractmethod
    def sign_in_url(self) -> str:
        """Where callers get their tokens: the address of a Keystone, or nothing for this API."""

    @abstractmethod
    def authenticate(
        self, request: Request, *, cached: bool = True, strange: Callable[[], None] = lambda: None
    ) -> Identity:
        """Return the caller; `cached=False` asks the source itself.

        `strange` is called before another service is asked about whom nobody remembers; what it
        raises is let out. Raises `Unauthenticated` or `Unavailable`, never answers anonymous.
        """

    @abstractmethod
    def effective_roles(self, subject: str, project: str) -> frozenset[Role]:
        """Return the roles that a user has in a project at this moment, uncached.

        Empty for a user or project that is gone or disabled. Raises `Unavailable`.
        """

    @abstractmethod
    def roles(self, *, since: datetime | None = None) -> frozenset[Role]:
        """Return every role that could open an account. Raises `Unavailable`.

        As of a minute ago at most; with `since` as of then or later, however long that is ago.
        """

    @abstractmethod
    def project(self, project_id: str) -> "Project":
        """Return a project, asked for itself and uncached; disabled with its domain.

        Raises `NotFound` only when the source says of this very id that it is not there, and
        `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def user(self, subject: str) -> "User":
        """Return a user, as `project` returns a project."""

    @abstractmethod
    def lent(self, subject: str, origin: str) -> None:
        """Return when what a user lent stands, as of this moment: see `Identity.origin`.

        What was not lent always stands. Raises `NotFound` only when the source says of this very
        credential or trust that it is no more, or that a trust's trustee is gone or disabled, and
        `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def projects(self, *, since: datetime | None = None) -> Iterator["Project"]:
        """Yield the projects as a listing tells: one that is missing may be there all the same.

        With `since` as of then or later. Raises `Unavailable`.
        """

    @abstractmethod
    def holders(
        self, project: str, *, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        """Return who has which roles in a project, as a listing tells: quick.

        What is in it was so a minute ago at most; with `since` then or later: whoever compares a
        whole cloud lists it once. What is missing proves nothing before `effective_roles` agrees.
        Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the source does not answer."""


# --- what the cloud has, and what it tells -------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine of the cloud; `built_at` is when it was created or last rebuilt."""

    id: str
    project: str
    name: str
    addresses: tuple[str, ...]
    built_at: datetime


class Inventory(Protocol):
    """Tells which machines the cloud has, and what they are called."""

    @abstractmethod
    def instance(self, instance_id: str, *, project: str) -> Instance:
        """Return an instance of a project, with the addresses that are bound to it now (S8).

        Raises `NotFound` only when the cloud says of this very id that the project has no such
        instance, and `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def instances(self) -> Iterator[str]:
        """Yield the ids of all instances as a listing tells: a missing one may be there.

        Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the cloud does not answer."""


class NoticeHandler(Protocol):
    """What takes notices from an event source."""

    @abstractmethod
    def handle(self, notice: Notice) -> None:
        """Act on a notice; a second time is harmless. Raises `Unavailable`: bring it again."""

    @abstractmethod
    def set_aside(self, message: str, content: str, reason: str) -> None:
        """Keep what nobody can read, or some of it when it is much, for people.

        Raises `Unavailable`: bring it again.
        """


class EventSource(Protocol):
    """Brings what the cloud tells, at least once each; many processes share one stream."""

    @abstractmethod
    def start(self, handler: NoticeHandler) -> None:
        """Begin to bring notices, in threads of its own, and go on whatever happens.

        A notice is done with only when the handler returned. An outage of the source is waited
        out.
        """

    @abstractmethod
    def stop(self) -> None:
        """Return when nothing is being handled and nothing more will come."""

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the source does not answer."""


# --- keys -------------------------------------------------------------------------------------


class Signer(Protocol):
    """One private key that never shows itself and signs only what it can read (S1)."""

    @property
    @abstractmethod
    def public_key(self) -> PublicKey:
        """The public half."""

    @abstractmethod
    def sign_certificate(self, contents: CertificateToSign) -> Certificate:
        """Sign a certificate.

        The signature is verified before it is returned. Raises `Unavailable`, and ValueError when
        the certificate names another signature key: that is a mistake in Tatu, no answer to a
        caller.
        """

    @abstractmethod
    def sign_statement(self, statement: Statement) -> str:
        """Return the armored SSHSIG (`statement@tatu`) over the encoded statement.

        Raises `Unavailable`.
        """

    @abstractmethod
    def sign_checkpoint(self, checkpoint: Checkpoint) -> str:
        """Return the armored SSHSIG (`checkpoint@tatu`) over the encoded checkpoint.

        Raises `Unavailable`.
        """


class KeyStore(Protocol):
    """Where private keys live."""

    @abstractmethod
    def create(self, algorithm: KeyAlgorithm) -> tuple[str, PublicKey]:
        """Make a key.

        Return its reference and public half. Durable on return. Raises `Unavailable`.
        """

    @abstractmethod
    def signer(self, reference: str) -> Signer:
        """Return the signer of a key. Raises `NotFound` or `Unavailable`."""

    @abstractmethod
    def delete(self, reference: str) -> None:
        """Destroy a key; no error when it is gone already. Raises `Unavailable`."""

    @abstractmethod
    def secret(self, name: str) -> bytes:
        """Return the deployment's 32-byte secret of this name, made at the first call.

        The same for every process and for ever. Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong."""


class Verifier(Protocol):
    """Checks signatures."""

    @abstractmethod
    def verify(self, public_key: PublicKey, signature: bytes, data: bytes) -> None:
        """Raise `Denied` unless the SSH signature blob is the key's over the data.

        Takes every type that `core.keys` reads; of hardware keys the user must have been present
        (flag bit 0); RSA signs with SHA-2.
        """


# --- the ledger -------------------------------------------------------------------------------


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
        `Conflict` when its serial is taken, `Unavailable` when nothing can be committed: then it
        must not leave.
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


class Hosts(Protocol):
    """Hosts and their admissions."""

    @abstractmethod
    def admit(
        self,
        host: Host,
        event: Event,
        *,
        mark: int = 0,
        topics: frozenset[Topic] = frozenset(),
        stands: Callable[[Host], bool] | None = None,
    ) -> Host:
        """Add a host, or open the next epoch of a known one (its keys must be proven anew).

        A known host of which `stands` is true only becomes `legacy` if that is wanted: of many who
        admit it at once, one does. A cut-off with one of these topics closes the admission; one
        newer than the mark raises `PermissionEnded`.

        Its certificates that name what it holds no more are revoked in the same commit (S8).
        Raises `Taken` when another live host of the authority holds one of its names or
        addresses, `Gone` when the authority is retired.
        """

    @abstractmethod
    def get(self, authority_id: str, host_id: str, *, scope: Sequence[str] | None) -> Host:
        """Raise `NotFound` when there is none, it is deleted, or it is out of scope."""

    @abstractmethod
    def list(
        self,
        *,
        authorities: Sequence[str] | None,
        ids: Sequence[str] | None = None,
        holding: str | None = None,
        limit: int,
        marker: str | None,
    ) -> Page[Host]:
        """Return the hosts that are not deleted, by authority and id.

        `ids` confines to these, `holding` to whoever has this name or address.
        """

    @abstractmethod
    def enrol(
        self, authority_id: str, host_id: str, epoch: int, keys: Sequence[str], event: Event
    ) -> Host:
        """Bind host keys to this epoch. The same keys again: no change, no error.

        Raises `Conflict` when other keys hold it already (a clone), `Gone` for another epoch.
        """

    @abstractmethod
    def rebind(
        self,
        authority_id: str,
        host_id: str,
        *,
        names: Sequence[str],
        addresses: Sequence[str],
        event: Event,
    ) -> Host:
        """Give a host what the inventory says it is called now, within the same epoch (S8).

        Its certificates that name more are revoked in the same commit, and renewal is due when
        what it is called has changed. No change, no event. Raises `NotFound`, or `Taken` when
        another live host holds one of the names or addresses.
        """

    @abstractmethod
    def renewed(
        self, authority_id: str, host_id: str, *, principals: Sequence[str], event: Event
    ) -> None:
        """Note that a host got certificates for these principals.

        Renewal is due no more, if it is still called so. Raises `NotFound`.
        """

    @abstractmethod
    def refused(self, authority_id: str, host_id: str, event: Event) -> None:
        """Note on the host that a second key was refused."""

    @abstractmethod
    def delete(self, authority_id: str, host_id: str, event: Event) -> None:
        """End a host.

        Its names are free again, and a cut-off on it is committed. Raises `NotFound`.
        """


@dataclass(frozen=True, kw_only=True)
class HostReceipt:
    """A host that people may get into, and the receipt that it gave since it enrolled, if any.

    `not_enrolled_since` is when it was admitted again, unless it enrolled since then.
    """

    host: str
    receipt: Receipt | None
    not_enrolled_since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How many hosts are enrolled, how many of them have not shown to obey the newest KRL.

    `oldest` is when the host that is silent for longest gave its receipt.
    """

    hosts: int
    behind: int
    oldest: datetime | None


class Receipts(Protocol):
    """The latest receipt of each host. Whoever enrols anew has given none yet."""

    @abstractmethod
    def put(self, receipt: Receipt, proof: str) -> None:
        """Keep a receipt in place of the last one, with the signed request that proves it.

        Raises `NotFound` when the host is deleted meanwhile.
        """

    @abstractmethod
    def get(self, authority_id: str, host_id: str) -> tuple[Receipt, str]:
        """Return a host's receipt and its proof. Raises `NotFound`."""

    @abstractmethod
    def list(
        self, authority_id: str, *, now: datetime, at_least: int, limit: int, marker: str | None
    ) -> Page[HostReceipt]:
        """Return the hosts that are enrolled, or admitted again and have live certificates.

        First come those without this KRL version or a later one; the latter have none.
        """

    @abstractmethod
    def count(self, authority_id: str, *, now: datetime, at_least: int) -> tuple[int, int]:
        """Return how many such hosts there are, and how many have that version or a later one."""

    @abstractmethod
    def lag(self) -> Lag:
        """Return how far all hosts are, of all authorities that are not retired."""


class Reports(Protocol):
    """The latest report of each host. Whoever enrols anew has given none yet."""

    @abstractmethod
    def put(self, report: Report) -> None:
        """Keep a report in place of the last one. Raises `NotFound` as `Receipts.put`."""

    @abstractmethod
    def get(self, authority_id: str, host_id: str) -> Report:
        """Raise `NotFound` when there is none."""


@dataclass(frozen=True, kw_only=True)
class LedgerLogin:
    """A login as a host told it, and what the ledger made of that.

    `subject` and `user_name` are set only where the certificate is one of ours as it was named;
    `alarm` says what is wrong with one that is not. `sequence` is its place, 0 before it has one.
    """

    authority: str
    host: str
    received_at: datetime
    login: Login
    subject: str = ""
    user_name: str = ""
    alarm: str = ""
    sequence: int = 0


@dataclass(frozen=True, kw_only=True)
class LoginFilter:
    """Which logins: every part that is not None must match; `authorities` as certificates'.

    `after` is a time of the hosts' clocks.
    """

    authorities: Sequence[str] | None
    subject: str | None = None
    host: str | None = None
    account: str | None = None
    serial: int | None = None
    kind: LoginKind | None = None
    after: datetime | None = None
    alarming: bool | None = None


class Logins(Protocol):
    """What hosts told of logins; of each host the newest `kept`."""

    @abstractmethod
    def append(
        self, told: Sequence[LedgerLogin], alarms: Mapping[str, Event]
    ) -> tuple[LedgerLogin, ...]:
        """Keep what one host told; return what it had not told before.

        `alarms`, by the login's id, are the events of those that are to be written down: in the
        same commit as the login. Raises `NotFound` when the host is deleted meanwhile.
        """

    @abstractmethod
    def list(self, wanted: LoginFilter, *, limit: int, marker: str | None) -> Page[LedgerLogin]:
        """Return logins, those that came last first."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project of the cloud or of the embedded directory."""

    id: str
    name: str
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the cloud or of the embedded directory.

    `federated`: another source knows them too, and assignments may not tell all their roles (S9).
    """

    id: str
    name: str
    enabled: bool = True
    federated: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of users of the embedded directory."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class UserKey:
    """A key that a user signs in with."""

    user: str
    public_key: PublicKey
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A role in a project, held by a user or a group (one of the two is set)."""

    project: str
    role: str
    user: str | None = None
    group: str | None = None


class Directory(Protocol):
    """Local projects, users, groups, roles and assignments: the embedded identity's memory.

    Whatever takes something away commits its cut-off in the same transaction. Creating what is
    there raises `Conflict`, touching what is not `NotFound`; names are unique, compared
    byte for byte.  Deleting and disabling are idempotent.
    """

    @abstractmethod
    def create_project(self, project: Project, event: Event) -> None:
        """Add a project."""

    @abstractmethod
    def project(self, id_or_name: str) -> Project:
        """Find a project: by id first, then by name."""

    @abstractmethod
    def projects(self, *, limit: int, marker: str | None) -> Page[Project]:
        """Return projects by id."""

    @abstractmethod
    def enable_project(self, project_id: str, event: Event, *, enabled: bool) -> Project:
        """Enable or disable a project."""

    @abstractmethod
    def delete_project(self, project_id: str, event: Event) -> None:
        """Delete a project and its assignments."""

    @abstractmethod
    def create_user(self, user: User, event: Event) -> None:
        """Add a user."""

    @abstractmethod
    def user(self, id_or_name: str) -> User:
        """Find a user: by id first, then by name."""

    @abstractmethod
    def users(self, *, limit: int, marker: str | None) -> Page[User]:
        """Return users by id."""

    @abstractmethod
    def enable_user(self, user_id: str, event: Event, *, enabled: bool) -> User:
        """Enable or disable a user; disabling ends their tokens."""

    @abstractmethod
    def delete_user(self, user_id: str, event: Event) -> None:
        """Delete a user with keys, memberships, assignments and tokens."""

    @abstractmethod
    def add_key(self, key: UserKey, event: Event) -> None:
        """Let a user sign in with a key. Raises `Conflict` when anybody has it already."""

    @abstractmethod
    def keys(self, user_id: str) -> tuple[UserKey, ...]:
        """Return a user's keys."""

    @abstractmethod
    def remove_key(self, user_id: str, fingerprint: str, event: Event) -> None:
        """Take a key away; ends the tokens that it got."""

    @abstractmethod
    def create_group(self, group: Group, event: Event) -> None:
        """Add a group."""

    @abstractmethod
    def group(self, id_or_name: str) -> Group:
        """Find a group: by id first, then by name."""

    @abstractmethod
    def groups(self, *, limit: int, marker: str | None) -> Page[Group]:
        """Return groups by id."""

    @abstractmethod
    def delete_group(self, group_id: str, event: Event) -> None:
        """Delete a group with its assignments."""

    @abstractmethod
    def members(self, group_id: str) -> tuple[User, ...]:
        """Return a group's users."""

    @abstractmethod
    def add_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Add a user to a group; no error when there already."""

    @abstractmethod
    def remove_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Remove a user from a group."""

    @abstractmethod
    def create_role(self, role: Role, event: Event) -> None:
        """Add a role."""

    @abstractmethod
    def role(self, id_or_name: str) -> Role:
        """Find a role: by id first, then by name."""

    @abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """Return all roles."""

    @abstractmethod
    def delete_role(self, role_id: str, event: Event) -> None:
        """Delete a role with its assignments."""

    @abstractmethod
    def assign(self, assignment: Assignment, event: Event) -> None:
        """Give a role; no error when given already."""

    @abstractmethod
    def unassign(self, assignment: Assignment, event: Event) -> None:
        """Take a role away. Raises `NotFound` when it was not given."""

    @abstractmethod
    def assignments(
        self, *, project: str | None, user: str | None, group: str | None
    ) -> tuple[Assignment, ...]:
        """Return direct assignments that match."""

    @abstractmethod
    def effective_roles(self, user_id: str, project_id: str) -> frozenset[Role]:
        """Return the roles of a user in a project, groups counted.

        Empty when either is gone or disabled.
        """

    @abstractmethod
    def holds_anywhere(self, user_id: str, role_name: str) -> bool:
        """Whether a user has a role of this name in any project, a disabled one too."""


@dataclass(frozen=True, kw_only=True)
class BearerToken:
    """A sign-in token as it is kept: by the SHA-256 of its text (S7)."""

    digest: str
    user: str
    project: str | None
    key: str
    fresh: bool
    created_at: datetime
    expires_at: datetime


class SignIns(Protocol):
    """Challenges and bearer tokens."""

    @abstractmethod
    def put_challenge(self, challenge: Challenge) -> None:
        """Remember a challenge."""

    @abstractmethod
    def redeem_challenge(self, challenge_id: str, now: datetime) -> Challenge:
        """Return a challenge once.

        Raises `Unauthenticated` when it is unknown, used or expired.
        """

    @abstractmethod
    def put_token(self, token: BearerToken, event: Event) -> None:
        """Remember a token.

        Raises `Unauthenticated` when its user or key was taken away meanwhile.
        """

    @abstractmethod
    def token(self, digest: str, now: datetime) -> BearerToken:
        """Raise `Unauthenticated` when the token is unknown, ended or expired."""

    @abstractmethod
    def end_token(self, digest: str, event: Event) -> None:
        """End a token; no error when it is gone."""

    @abstractmethod
    def expire(self, now: datetime) -> int:
        """Remove challenges, tokens, kept answers and counts of requests that ended a day ago.

        Return how many challenges and tokens. No facts are among them: those only `Ledger.prune`
        removes.
        """


class Secrets(Protocol):
    """Wrapped secrets: what a key store keeps in the ledger; opaque bytes here."""

    @abstractmethod
    def put(self, name: str, wrapped: bytes) -> None:
        """Keep a secret. Raises `Conflict` when the name is taken."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """Raise `NotFound` when there is none."""

    @abstractmethod
    def replace(self, name: str, wrapped: bytes, *, old: bytes) -> None:
        """Replace a secret that still reads `old`. Raises `Conflict` when it does not."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Forget a secret; no error when it is gone."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return all names."""


class Audit(Protocol):
    """The chain of events (S23)."""

    @abstractmethod
    def append(self, event: Event) -> Link:
        """Append an event that changed nothing else (a refusal). Durable on return."""

    @abstractmethod
    def read(
        self, *, after: int, limit: int, authorities: Sequence[str] | None = None
    ) -> tuple[Link, ...]:
        """Return links in order, after a sequence; confined to events of these authorities."""

    @abstractmethod
    def head(self) -> tuple[int, str]:
        """Return the last sequence and hash."""


@dataclass(frozen=True, kw_only=True)
class StoredAnswer:
    """The answer that an Idempotency-Key got.

    `certificates` names what it carried (authority, serial).
    """

    status: int
    body: bytes
    certificates: tuple[tuple[str, int], ...] = field(default=())


class Idempotency(Protocol):
    """Answers by (caller, method, path, body digest, key): a repeated POST does nothing twice."""

    @abstractmethod
    def begin(self, key: str, digest: str, now: datetime) -> StoredAnswer | None:
        """Claim a key, or return the answer it got.

        Raises `Conflict` when the key was used for another request, or is being worked on
        (a claim without an answer ends after a minute).
        """

    @abstractmethod
    def finish(self, key: str, answer: StoredAnswer) -> None:
        """Keep the answer for a day."""

    @abstractmethod
    def abandon(self, key: str) -> None:
        """Give the claim up: the request failed and may be tried again."""


class Limits(Protocol):
    """Rate limits that all processes share."""

    @abstractmethod
    def take(self, key: str, *, limit: int, window: timedelta, now: datetime) -> None:
        """Count one; raises `TooMany` with the seconds to wait past `limit` in the window.

        A process may lease a sixteenth of the limit, 256 at most: so exact is the count.
        """

    @abstractmethod
    def check(self, key: str, *, window: timedelta, now: datetime) -> None:
        """Raise `TooMany` when `take` has done so in this process and window; count nothing."""


class Nonces(Protocol):
    """What signed requests say once (S12)."""

    @abstractmethod
    def used(self, nonce: str) -> bool:
        """Whether a nonce was used. Cheap; `use` alone is sure."""

    @abstractmethod
    def use(self, nonce: str, *, until: datetime) -> None:
        """Use a nonce that is remembered until a time. Raises `Conflict` when it was used."""

    @abstractmethod
    def expire(self, now: datetime) -> int:
        """Forget the nonces whose time has passed; return how many."""


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


class Leases(Protocol):
    """What one process of a deployment does at a time."""

    @abstractmethod
    def take(self, name: str, holder: str, *, now: datetime, until: datetime) -> bool:
        """Take a lease that nobody else has `now`, or keep one's own, until a later time.

        Return whether it is the holder's. Whoever dies with it lets go of it at that time.
        """

    @abstractmethod
    def release(self, name: str, holder: str) -> None:
        """Give a lease up; no error when it is another's by now."""


class Ledger(Protocol):
    """The parts together, and what is true of the whole."""

    authorities: Authorities
    certificates: Certificates
    revocations: Revocations
    cut_offs: CutOffs
    publications: Publications
    hosts: Hosts
    receipts: Receipts
    reports: Reports
    logins: Logins
    holds: Holds
    leases: Leases
    directory: Directory
    sign_ins: SignIns
    secrets: Secrets
    audit: Audit
    idempotency: Idempotency
    limits: Limits
    nonces: Nonces

    @abstractmethod
    def deployment(self) -> str:
        """Return the deployment's id: made once, with the first migration."""

    @abstractmethod
    def purposes_of(self, key: PublicKey, *, unproven_in: str = "") -> frozenset[str]:
        """Return what a key is already (S1), by one indexed read.

        `authority` (any key of any authority), `sign-in` (a user's in the directory), `host`
        (certified as a host's), `user` (certified as a user's subject key). Certificates for
        which nobody proved to hold the key count in the authority `unproven_in` alone.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong.

        No answer, wrong revision, not writable, rolled back.
        """

    @abstractmethod
    def restored(self, links: Iterator[Link]) -> None:
        """After a restore.

        Skip serials and versions past the high-water marks, re-import revocations (S3).
        """

    @abstractmethod
    def prune(
        self, before: datetime, event: Event, *, certificates: bool, dry_run: bool
    ) -> Mapping[str, int]:
        """Remove what ended before a time; return how many rows of each kind.

        Superseded publications with their KRLs, swept cut-offs and cleared blocks; certificates
        that had expired, revoked or not, only when asked for. Never an event. With `dry_run` they
        are only counted. Raises `Malformed` for a time within `authority.SKEW` (S18).
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is being committed, then let go of the database."""
