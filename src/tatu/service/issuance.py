"""Issuing user certificates (docs/issuance.md)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tatu.core import lint, losses, policy
from tatu.core.authority import Purpose
from tatu.core.certificate import CertificateToSign, CertificateType
from tatu.core.errors import (
    Denied,
    Malformed,
    PermissionEnded,
    Standing,
    TatuError,
    Unauthenticated,
)
from tatu.core.identity import Identity
from tatu.core.keys import PublicKey
from tatu.core.policy import Grant, Wanted
from tatu.core.principals import LeftOut, RoleMap
from tatu.core.sshsig import Namespace, SshSignature
from tatu.ports import (
    CertificateFilter,
    Clock,
    IdentityProvider,
    IssuedCertificate,
    KeyStore,
    Ledger,
    LedgerCertificate,
    Randomness,
    Request,
    Snapshot,
    Verifier,
)
from tatu.service import signing
from tatu.service.audit import event
from tatu.service.paging import every

MAX_BATCH = 100
NONCE = 32

ATTEMPTS = 5
PATIENCE = timedelta(seconds=5)
"""How often, and for how long, a caller whom losses meet is decided about anew."""

_BATCH_THREADS = 16  # enough for the records of a batch to share their commits


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate that is in the ledger, and the roles that gave it nothing."""

    certificate: LedgerCertificate
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class Issuance:
    """Issues user certificates: decide, prove, reserve, lint, sign, record."""

    ledger: Ledger
    keystore: KeyStore
    identities: IdentityProvider
    verifier: Verifier
    clock: Clock
    randomness: Randomness
    role_map: RoleMap
    limits: lint.Limits
    deployment: str

    def user_certificate(
        self,
        request: Request,
        identity: Identity,
        authority_id: str,
        wanted: Wanted,
        proof: str | None,
        *,
        request_id: str,
    ) -> Issued:
        """Issue a certificate; on return its ledger row is durable.

        `proof` is the subject key's armored SSHSIG (`subject@tatu`) over the request (S6); None is
        for the original's wire alone, which has no place for one: its event says so.
        Raises `NotFound` for no authority, `Denied` (audited), `Malformed`, `Conflict` when the
        authority has no active key, `Unauthenticated` (audited) when the token was ended while it
        was remembered, `PermissionEnded` (audited) when losses went on and on, or `Unavailable`:
        then nothing was issued.
        """
        until = self.clock() + PATIENCE
        again, left = identity, ATTEMPTS
        try:
            while True:
                try:
                    return self._issue(again, authority_id, wanted, proof, request_id)
                except PermissionEnded:
                    left -= 1
                    if not left or self.clock() >= until:
                        raise
                # Something ended after the caller was looked up, maybe not what this needs: ask
                # again, past every cache, and decide anew. More than once: whose groups or domains
                # end again and again must not keep everybody else from a certificate.
                again = self._anew(request, identity)
        except (Denied, Unauthenticated) as error:
            self.ledger.audit.append(
                event(
                    "certificate.denied",
                    by=identity,
                    at=self.clock(),
                    subject=identity.subject,
                    authority=authority_id,
                    request_id=request_id,
                    reason=str(error),
                    subject_key=wanted.subject_key.fingerprint,
                )
            )
            raise

    def batch(
        self,
        request: Request,
        identity: Identity,
        authority_id: str,
        items: Sequence[tuple[Wanted, str] | TatuError],
        *,
        request_id: str,
    ) -> tuple[Issued | TatuError, ...]:
        """Issue up to 100 certificates, each for itself: the result is one, or why there is none.

        The items are (wanted, proof), or why one could not even be read: that is its result.
        Raises `Malformed` when there are none or too many.
        """
        if not 0 < len(items) <= MAX_BATCH:
            raise Malformed(f"a batch has 1 to {MAX_BATCH} items")

        def one(item: tuple[Wanted, str] | TatuError) -> Issued | TatuError:
            if isinstance(item, TatuError):
                return item
            try:
                return self.user_certificate(
                    request, identity, authority_id, *item, request_id=request_id
                )
            except TatuError as error:
                return error

        with ThreadPoolExecutor(min(_BATCH_THREADS, len(items))) as pool:
            return tuple(pool.map(one, items))

    def unproven(
        self,
        request: Request,
        identity: Identity,
        authority_id: str,
        subject_key: PublicKey,
        *,
        request_id: str,
    ) -> LedgerCertificate:
        """Return the caller's live certificate for a key, made now unless one stands.

        One, however often it is asked for at once; for the original's wire alone, which proves
        nothing. Raises as `user_certificate` does.
        """
        found = self.standing(identity, authority_id, subject_key)
        if found is not None:
            return found
        wanted = Wanted(subject_key=subject_key)
        try:
            return self.user_certificate(
                request, identity, authority_id, wanted, None, request_id=request_id
            ).certificate
        except Standing as error:  # another request was faster
            return self.ledger.certificates.get(authority_id, error.serial, scope=(authority_id,))

    def standing(
        self, identity: Identity, authority_id: str, subject_key: PublicKey
    ) -> LedgerCertificate | None:
        """Return the caller's live certificate for a key when a new one would say the same.

        Raises `NotFound` for no authority, `Conflict` when it has no active key.
        """
        authority = self.ledger.authorities.snapshot(authority_id).authority
        signature_key = authority.active(Purpose.USER).public_key.fingerprint
        principals = tuple(sorted(self.role_map.of(identity.roles).given))
        wanted = CertificateFilter(
            authorities=(authority_id,),
            type=CertificateType.USER,
            subject=identity.subject,
            subject_key=subject_key.fingerprint,
            live_at=self.clock(),
            revoked=False,
        )
        for found in every(partial(self.ledger.certificates.list, wanted)):
            same = principals, signature_key, identity.origin
            if same == (found.principals, found.signature_key, found.origin):
                return found
        return None

    def _anew(self, request: Request, identity: Identity) -> Identity:
        again = self.identities.authenticate(request, cached=False)
        if (again.issuer, again.subject) != (identity.issuer, identity.subject):
            raise Unauthenticated("the token became another caller's")
        return again

    def _issue(
        self,
        identity: Identity,
        authority_id: str,
        wanted: Wanted,
        proof: str | None,
        request_id: str,
    ) -> Issued:
        snapshot = self.ledger.authorities.snapshot(authority_id)
        snapshot.authority.check_not_retired()
        now = self.clock().replace(microsecond=0)
        grant = policy.decide(snapshot.authority, identity, wanted, self.role_map, now)
        self._check_blocks(snapshot, identity, wanted)
        if proof is not None:
            self._check_proof(snapshot, identity, wanted, proof)
        self._check_purposes(wanted, authority_id if proof is None else "")
        signature_key = snapshot.authority.active(Purpose.USER)
        serial = self.ledger.certificates.reserve(authority_id)
        contents = CertificateToSign(
            subject_key=grant.subject_key,
            type=CertificateType.USER,
            serial=serial,
            key_id=grant.key_id(serial),
            principals=grant.principals,
            valid_after=grant.valid_after,
            valid_before=grant.valid_before,
            critical_options=grant.critical_options,
            extensions=grant.extensions,
            signature_key=signature_key.public_key,
            nonce=self.randomness(NONCE),
        )
        lint.check(contents, self.limits)
        signer = signing.signer(self.keystore, snapshot.authority, Purpose.USER)
        certificate = signer.sign_certificate(contents)
        issued = IssuedCertificate(
            authority=authority_id,
            certificate=certificate,
            mark=min(identity.mark, snapshot.mark),
            topics=losses.topics(identity)
            | {
                losses.subject_key(authority_id, grant.subject_key.fingerprint),
                losses.signature_key(signature_key.public_key.fingerprint),
            },
            issued_at=now,
            issuer=identity.issuer,
            subject=identity.subject,
            user_name=identity.name,
            roles=grant.roles,
            origin=identity.origin,
            proven=proof is not None,
        )
        self.ledger.certificates.record(
            issued,
            event(
                "certificate.issued",
                by=identity,
                at=now,
                subject=identity.subject,
                authority=authority_id,
                request_id=request_id,
                left_out=_told(grant),
                **({"wire": "v1"} if proof is None else {}),
            ),
        )
        return Issued(certificate=listed(issued), left_out=grant.left_out)

    def _check_blocks(self, snapshot: Snapshot, identity: Identity, wanted: Wanted) -> None:
        if identity.subject in snapshot.blocked_users:
            raise Denied("this user is blocked; an administrator can clear the block")
        if identity.subject in snapshot.held_users:
            raise Denied(
                "the cloud's answers about this user are being checked; try again, or ask an"
                " administrator"
            )
        if identity.origin in snapshot.held_origins:
            raise Denied(
                "the cloud's answers about what this token came by are being checked; try again,"
                " or sign in for yourself"
            )
        if wanted.subject_key.fingerprint in snapshot.blocked_keys:
            raise Denied("this subject key is blocked; an administrator can clear the block")

    def _check_proof(
        self, snapshot: Snapshot, identity: Identity, wanted: Wanted, proof: str
    ) -> None:
        signature = SshSignature.parse(proof)
        if signature.public_key != wanted.subject_key:
            raise Denied("the proof is signed by another key than the subject key")
        message = wanted.proof_message(
            deployment=self.deployment,
            authority=snapshot.authority.id,
            subject=identity.subject,
        )
        self.verifier.verify(
            wanted.subject_key,
            signature.signature,
            signature.signed_bytes(Namespace.SUBJECT, message),
        )

    def _check_purposes(self, wanted: Wanted, unproven_in: str) -> None:
        """Refuse a key that already is something else: no key serves two purposes (S1)."""
        purposes = self.ledger.purposes_of(wanted.subject_key, unproven_in=unproven_in)
        other = purposes - {"user"}
        if other:
            raise Denied(
                f"this key is a {' and '.join(sorted(other))} key already;"
                " make another one to be certified"
            )


def _told(grant: Grant) -> list[dict[str, str]]:
    return [{"role": out.role.name, "reason": out.reason} for out in grant.left_out]


def listed(issued: IssuedCertificate) -> LedgerCertificate:
    """Return a certificate just recorded as the ledger would list it."""
    contents = issued.certificate.contents
    return LedgerCertificate(
        authority=issued.authority,
        serial=contents.serial,
        type=contents.type,
        key_id=contents.key_id,
        principals=contents.principals,
        subject_key=contents.subject_key.fingerprint,
        signature_key=contents.signature_key.fingerprint,
        valid_after=contents.valid_after,
        valid_before=contents.valid_before,
        issued_at=issued.issued_at,
        issuer=issued.issuer,
        subject=issued.subject,
        user_name=issued.user_name,
        roles=issued.roles,
        host=issued.host,
        line=issued.certificate.line,
        revoked_at=None,
        revoked_reason=None,
        revoked_by=None,
        origin=issued.origin,
        proven=issued.proven,
    )
