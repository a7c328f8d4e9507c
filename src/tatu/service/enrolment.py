"""Enrolment: an admitted machine proves itself once and gets host certificates (S8, S11)."""

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tatu.core import canonical, enrolment, statement
from tatu.core.audit import Event
from tatu.core.errors import (
    Conflict,
    Denied,
    Gone,
    Malformed,
    NotFound,
    PermissionEnded,
)
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.ports import (
    Clock,
    KeyStore,
    Ledger,
    LedgerCertificate,
    Snapshot,
    Verifier,
)
from tatu.service.admission import legacy_token_of, secret_of
from tatu.service.audit import append_host_denial, host_event
from tatu.service.hostcertificates import HostCertificates, check_admissible
from tatu.service.paging import every
from tatu.service.statements import Statements

_NONCE = re.compile(r"[0-9a-f]{64}")
_UNPROVEN = "the enrolment token does not prove this request"


@dataclass(frozen=True, kw_only=True)
class Redemption:
    """What a host sends: its public keys, a MAC over them, and a signature by each, in order."""

    authority: str
    host: str
    nonce: str
    host_keys: tuple[PublicKey, ...]
    mac: str
    signatures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a host gets: JSON text, and a MAC over its very bytes."""

    text: str
    mac: str


class OtherKeys(Conflict):
    """The host has enrolled with other keys: whoever comes with these is a clone of it."""


class Unproven(Denied):
    """No token proves the request; `known`, never told to who asks: there is such a host."""

    def __init__(self, *, known: bool) -> None:
        super().__init__(_UNPROVEN)
        self.known = known


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """Redeems the tokens of admitted hosts."""

    ledger: Ledger
    keystore: KeyStore
    verifier: Verifier
    statements: Statements
    certificates: HostCertificates
    clock: Clock
    url: str
    deployment: str

    def redeem(
        self,
        redemption: Redemption,
        *,
        count: Callable[[], None] = lambda: None,
        request_id: str,
    ) -> Answer:
        """Enrol a host's keys, certify them, and answer under a MAC.

        The same keys may ask again until the token expires, and get the same certificates. What
        `count` raises refuses it; it is called when the host is proven, for anyone may name any
        host. Raises one and the same `Unproven` for an unknown host, an expired token and a wrong
        MAC; `Denied` for a signature that a key did not make; `Conflict` (reported on the host)
        for other keys than it has enrolled, or keys that serve another purpose; `Malformed`;
        `Unavailable`.
        """
        try:
            return self._redeem(redemption, count, request_id)
        except PermissionEnded:  # maybe an older loss than this admission: look again, once
            return self._redeem(redemption, count, request_id)

    def redeem_legacy(
        self,
        host_ids: Sequence[str],
        token: str,
        host_key: PublicKey,
        *,
        scope: Sequence[str] | None,
        count: Callable[[Host], None] = lambda _: None,
        request_id: str,
    ) -> tuple[Host, LedgerCertificate]:
        """Enrol the one key of a host by the token of the original's wire, and certify it.

        That wire sends the token and proves no key: whoever has the token first is the host, so
        only hosts admitted for it (`legacy`) are looked at, by any of the ids that mean the same.
        The key that is enrolled may come again as long as the host is there, and gets the
        certificate that stands, or another when that has lived half of its life: the wire has no
        renewal. `scope` confines to authorities. Raises `NotFound` for no such host, `Unproven`
        for another token or one that expired, `OtherKeys` or another `Conflict` for another
        key, `Denied` for a blocked host, `Malformed`, `Unavailable`.
        """

        def redeem() -> tuple[Host, LedgerCertificate]:
            found = self._proven_legacy(host_ids, token, scope, request_id)
            count(found)
            snapshot = self.ledger.authorities.snapshot(found.authority)
            check_admissible(snapshot, found)
            found = self._bind((host_key,), found, request_id, proven=False)
            certificate = self.certificates.standing(
                snapshot, found, host_key, request_id, proven=False
            )
            self.certificates.end_others(found, [certificate], request_id)
            return found, certificate

        try:
            return redeem()
        except PermissionEnded:  # as in `redeem`
            return redeem()

    def _proven_legacy(
        self, host_ids: Sequence[str], token: str, scope: Sequence[str] | None, request_id: str
    ) -> Host:
        page = partial(self.ledger.hosts.list, authorities=scope, ids=host_ids)
        named = [found for found in every(page) if found.legacy]
        for found in named:
            expected = legacy_token_of(self.keystore, found).encode()
            if hmac.compare_digest(expected, token.encode("utf-8", "surrogatepass")) and (
                found.host_keys or self.clock() < found.admitted_until
            ):
                return found
        for found in named:
            self._audit_denial(found, request_id)
        if named:
            raise Unproven(known=True)
        raise NotFound("no host of this id may enrol by such a token")

    def _redeem(
        self, redemption: Redemption, count: Callable[[], None], request_id: str
    ) -> Answer:
        secret, snapshot, found = self._proven(redemption, request_id)
        count()
        check_admissible(snapshot, found)
        self._check_signatures(redemption)
        found = self._bind(redemption.host_keys, found, request_id, proven=True)
        certificates = [
            self.certificates.standing(snapshot, found, key, request_id, proven=True)
            for key in redemption.host_keys
        ]
        self.certificates.end_others(found, certificates, request_id)
        text = self._answer(found, [certificate.line for certificate in certificates])
        mac = enrolment.answer_mac(secret, redemption.nonce, text.encode())
        return Answer(text=text, mac=mac)

    def _proven(self, redemption: Redemption, request_id: str) -> tuple[bytes, Snapshot, Host]:
        """Return the secret, and the authority and host that were read before it was checked.

        The MAC is made for hosts that are not there too. Only named hosts that are there are
        written down: strangers can name any number of others.
        """
        now = self.clock()
        snapshot: Snapshot | None = None
        found: Host | None = None
        epoch = 0  # epochs begin with 1: there is no such secret
        try:
            snapshot = self.ledger.authorities.snapshot(redemption.authority)
            found = self.ledger.hosts.get(redemption.authority, redemption.host, scope=None)
            epoch = found.epoch
        except NotFound:
            pass
        secret = secret_of(self.keystore, redemption.authority, redemption.host, epoch)
        try:
            enrolment.check_request_mac(secret, self._message(redemption), redemption.mac)
        except Denied:
            proven = False
        else:
            proven = True
        if snapshot and found and proven and now < found.admitted_until:
            return secret, snapshot, found
        if found:
            self._audit_denial(found, request_id)
        raise Unproven(known=found is not None)

    def _audit_denial(self, found: Host, request_id: str) -> None:
        append_host_denial(
            self.ledger, "host.enrolment-denied", found, at=self.clock(), request_id=request_id
        )

    def _message(self, redemption: Redemption) -> bytes:
        return enrolment.message(
            deployment=self.deployment,
            authority=redemption.authority,
            host=redemption.host,
            nonce=redemption.nonce,
            host_keys=redemption.host_keys,
        )

    def _check_signatures(self, redemption: Redemption) -> None:
        keys = redemption.host_keys
        if not _NONCE.fullmatch(redemption.nonce):
            raise Malformed("a nonce is 32 bytes in lower-case hex")
        if not 0 < len(keys) <= enrolment.MAX_HOST_KEYS or len(set(keys)) < len(keys):
            raise Malformed(f"a host enrols 1 to {enrolment.MAX_HOST_KEYS} keys, each once")
        if len(redemption.signatures) != len(keys):
            raise Malformed("there must be one signature by each host key, in their order")
        message = self._message(redemption)
        for key, armored in zip(keys, redemption.signatures, strict=True):
            if key.hardware:
                raise Malformed("a host key cannot wait for a touch: sshd has no security key")
            signature = SshSignature.parse(armored)
            if signature.public_key != key:
                raise Denied("a signature is by another key than the host key in its place")
            signed = signature.signed_bytes(Namespace.ENROL, message)
            self.verifier.verify(key, signature.signature, signed)

    def _check_purposes(
        self, host_keys: Sequence[PublicKey], found: Host, *, proven: bool
    ) -> None:
        """Refuse keys that are something else, or another host's (S1): a copied disk has both.

        Who proved nothing keeps nobody but their own project's likes from a key.
        """
        unproven_in = "" if proven else found.authority
        for key in host_keys:
            purposes = self.ledger.purposes_of(key, unproven_in=unproven_in)
            if other := purposes - {"host"}:
                raise Conflict(
                    f"host key {key.fingerprint} is a {' and '.join(sorted(other))} key already"
                )
            if "host" in purposes and any(
                (held.authority, held.host) != (found.authority, found.id)
                and (held.proven or held.authority == unproven_in)
                for held in self.certificates.live(key=key)
            ):
                raise Conflict(f"host key {key.fingerprint} is another host's")

    def _bind(
        self, host_keys: Sequence[PublicKey], found: Host, request_id: str, *, proven: bool
    ) -> Host:
        def told(action: str) -> Event:
            return host_event(
                action,
                found.authority,
                found.id,
                at=self.clock(),
                request_id=request_id,
                host_keys=[key.fingerprint for key in host_keys],
                **({"wire": "v1"} if found.legacy else {}),
            )

        try:
            self._check_purposes(host_keys, found, proven=proven)
            lines = [key.line for key in host_keys]
            if found.host_keys and set(found.host_keys) != set(lines):
                raise OtherKeys(f"host {found.id!r} is enrolled with other keys")
            return self.ledger.hosts.enrol(
                found.authority,
                found.id,
                found.epoch,
                lines,
                told("host.enrolled"),
            )
        except Gone as error:
            raise Denied(_UNPROVEN) from error
        except Conflict:
            self.ledger.hosts.refused(found.authority, found.id, told("host.refused"))
            raise

    def _answer(self, found: Host, certificates: Sequence[str]) -> str:
        newest = self.statements.newest(found.authority)
        contents = statement.decode(newest.statement)
        base = f"{self.url}/v2/authorities/{found.authority}"
        answer = {
            "deployment": self.deployment,
            "authority": found.authority,
            "host": found.id,
            "certificates": certificates,
            "statement": newest.statement.decode(),
            "signature": newest.signature,
            "statement_keys": _lines(contents.statement_keys),
            "user_authorities": _lines(contents.user_authorities),
            "host_authorities": _lines(contents.host_authorities),
            "krl": {
                "version": contents.krl_version,
                "digest": contents.krl_digest,
                "url": f"{base}/krl/{contents.krl_version}",
            },
        }
        return canonical.text(answer)


def _lines(keys: Sequence[PublicKey]) -> list[str]:
    return [key.line for key in keys]
