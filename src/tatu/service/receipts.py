"""Receipts: which hosts have shown to obey a revocation, and which not (security.md S3, S19)."""

from dataclasses import dataclass, field

from tatu.core import statement
from tatu.core.authority import Purpose
from tatu.core.claims import Receipt
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import Statement
from tatu.ports import Clock, HostReceipt, Lag, Ledger, Nonce, Page, Verifier
from tatu.service.audit import append_some, host_event
from tatu.service.hostrequests import REPEATED

_UNKNOWN = (
    "the ledger does not know this statement: show it, with its signature, if it was signed here"
)
_REMEMBERED = 4096


@dataclass(frozen=True, kw_only=True)
class SignedStatement:
    """A statement as a host fetched it: its text, and the armored signature."""

    text: bytes
    signature: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many hosts people may get into, and how many obey that KRL version or a later one."""

    at_least: int
    hosts: int
    done: int


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """Takes receipts, and tells who is behind."""

    ledger: Ledger
    verifier: Verifier
    clock: Clock
    deployment: str
    _stated: dict[tuple[str, int], tuple[int, str]] = field(
        default_factory=dict, init=False, repr=False
    )

    def take(
        self,
        claimed: Receipt,
        proof: str,
        nonce: Nonce,
        *,
        shown: SignedStatement | None = None,
        request_id: str,
    ) -> None:
        """Keep what a host says that it obeys, with the signed request, whose nonce it uses.

        Raises `Unauthenticated` when that was used meanwhile.

        It must be what was signed: another KRL than that statement's is `Conflict`, and so is a
        statement that the ledger would have to know and does not. A host cannot stop anything by
        making such a version up; but one that is `shown` with its signature proves that the ledger
        was rolled back: nothing is signed for the authority any more, and this raises
        `RolledBack` (S3).
        """
        try:
            stated = self._krl_of(claimed.authority, claimed.statement_version)
        except NotFound:
            if self.ledger.publications.is_lost(claimed.authority, claimed.statement_version):
                self._lost(claimed, shown, request_id)
            agrees = claimed.krl_version <= self._newest(claimed.authority)
        else:
            agrees = stated == (claimed.krl_version, claimed.krl_digest)
        if not agrees:
            raise Conflict("the statement of this version names another KRL")
        try:
            self.ledger.receipts.put(claimed, proof, nonce)
        except Conflict as error:
            raise Unauthenticated(REPEATED) from error

    def progress(self, authority_id: str, at_least: int | None) -> Progress:
        """Count an authority's hosts; of None those that obey the newest KRL that there is.

        Raises `NotFound` for no authority.
        """
        newest = self._newest(authority_id)
        least = newest if at_least is None else at_least
        hosts, done = self.ledger.receipts.count(authority_id, now=self.clock(), at_least=least)
        return Progress(at_least=least, hosts=hosts, done=done)

    def list(
        self, authority_id: str, at_least: int, *, limit: int, marker: str | None
    ) -> Page[HostReceipt]:
        """Return an authority's hosts, those that are behind first."""
        return self.ledger.receipts.list(
            authority_id, now=self.clock(), at_least=at_least, limit=limit, marker=marker
        )

    def lag(self) -> Lag:
        """Return how far the hosts of all authorities are."""
        return self.ledger.receipts.lag()

    def _krl_of(self, authority_id: str, version: int) -> tuple[int, str]:
        """Return the KRL's version and digest that a statement names; a fleet asks for the same.

        What is published never changes. Raises `NotFound`.
        """
        key = (authority_id, version)
        stated = self._stated.get(key)
        if stated is None:
            told = statement.decode(self.ledger.publications.get(*key).statement)
            if len(self._stated) >= _REMEMBERED:
                self._stated.clear()
            stated = self._stated[key] = (told.krl_version, told.krl_digest)
        return stated

    def _newest(self, authority_id: str) -> int:
        newest = self.ledger.publications.newest(authority_id)
        return newest.krl_version if newest else 0

    def _lost(self, claimed: Receipt, shown: SignedStatement | None, request_id: str) -> None:
        """Stop signing if the statement was signed here; raises `Conflict` unless it was."""
        proven = shown is not None and self._signed_here(claimed, shown)
        alarm = host_event(
            "receipt.lost-statement" if proven else "receipt.unknown-statement",
            claimed.authority,
            claimed.host,
            at=self.clock(),
            request_id=request_id,
            statement_version=claimed.statement_version,
            krl_version=claimed.krl_version,
        )
        append_some(self.ledger, alarm, claimed.authority, claimed.host)
        if not proven:
            raise Conflict(_UNKNOWN)
        self.ledger.publications.prove_lost(claimed.authority, claimed.statement_version)
        self.ledger.authorities.snapshot(claimed.authority)  # raises `RolledBack`

    def _signed_here(self, claimed: Receipt, shown: SignedStatement) -> bool:
        try:
            signature = SshSignature.parse(shown.signature)
            keys = self.ledger.authorities.get(claimed.authority).trusted(Purpose.STATEMENT)
            if signature.public_key not in {key.public_key for key in keys}:
                return False
            signed = signature.signed_bytes(Namespace.STATEMENT, shown.text)
            self.verifier.verify(signature.public_key, signature.signature, signed)
            told = statement.decode(shown.text)
        except (Malformed, Denied):
            return False
        return self._is_claimed(told, claimed)

    def _is_claimed(self, told: Statement, claimed: Receipt) -> bool:
        return (told.deployment, told.authority, told.version) == (
            self.deployment,
            claimed.authority,
            claimed.statement_version,
        )
