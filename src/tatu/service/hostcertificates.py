"""Host certificates: made for the keys that a host has enrolled (security.md S8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tatu.core import lint, losses
from tatu.core.audit import SYSTEM
from tatu.core.authority import BACKDATE, Purpose
from tatu.core.certificate import CertificateToSign, CertificateType
from tatu.core.errors import Denied
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.ports import (
    CertificateFilter,
    Clock,
    IssuedCertificate,
    KeyStore,
    Ledger,
    LedgerCertificate,
    Randomness,
    Snapshot,
)
from tatu.service import signing
from tatu.service.admission import BLOCKED
from tatu.service.audit import event, host_event
from tatu.service.issuance import NONCE, listed
from tatu.service.paging import every


def check_admissible(snapshot: Snapshot, found: Host) -> None:
    """Raise `Gone` or `Denied` for a host that gets no certificate now."""
    snapshot.authority.check_not_retired()
    if found.id in snapshot.blocked_hosts:
        raise Denied(BLOCKED)
    if found.id in snapshot.held_hosts:
        raise Denied(
            "the cloud's answers about this instance are being checked; try again, or ask an"
            " administrator"
        )


@dataclass(frozen=True, kw_only=True)
class HostCertificates:
    """Issues the certificates of hosts, and ends those that others replace."""

    ledger: Ledger
    keystore: KeyStore
    clock: Clock
    randomness: Randomness
    limits: lint.Limits

    def standing(
        self, snapshot: Snapshot, found: Host, key: PublicKey, request_id: str, *, proven: bool
    ) -> LedgerCertificate:
        """Return the key's certificate of this enrolment, issued now unless it lives well yet.

        `proven` says that the host has shown to hold the key.
        """
        now = self.clock().replace(microsecond=0)
        profile = snapshot.authority.profile
        signature_key = snapshot.authority.active(Purpose.HOST)
        for held in self.live(found, key=key):
            if (
                (held.proven or not proven)
                and found.enrolled_at is not None
                and held.issued_at >= found.enrolled_at.replace(microsecond=0)
                and held.principals == found.principals
                and held.signature_key == signature_key.public_key.fingerprint
                and now < held.valid_before - profile.host_validity / 2
            ):
                return held
        serial = self.ledger.certificates.reserve(found.authority)
        contents = CertificateToSign(
            subject_key=key,
            type=CertificateType.HOST,
            serial=serial,
            key_id=f"host_{found.id}_{serial}",
            principals=found.principals,
            valid_after=now - BACKDATE,
            valid_before=now + profile.host_validity,
            critical_options={},
            extensions={},
            signature_key=signature_key.public_key,
            nonce=self.randomness(NONCE),
        )
        lint.check(contents, self.limits)
        signer = signing.signer(self.keystore, snapshot.authority, Purpose.HOST)
        certificate = signer.sign_certificate(contents)
        issued = IssuedCertificate(
            authority=found.authority,
            certificate=certificate,
            mark=snapshot.mark,
            topics=frozenset(
                {
                    losses.host(found.authority, found.id),
                    losses.project(found.authority),
                    losses.signature_key(signature_key.public_key.fingerprint),
                }
            ),
            issued_at=now,
            host=found.id,
            proven=proven,
        )
        self.ledger.certificates.record(
            issued,
            host_event(
                "certificate.issued",
                found.authority,
                found.id,
                at=now,
                request_id=request_id,
            ),
        )
        return listed(issued)

    def end_others(
        self, found: Host, certificates: Sequence[LedgerCertificate], request_id: str
    ) -> None:
        """Revoke what the host held before: other keys, names or addresses."""
        kept = {certificate.serial for certificate in certificates}
        others = [held.serial for held in self.live(found) if held.serial not in kept]
        if others:
            self.ledger.revocations.revoke_serials(
                {found.authority: others},
                "replaced",
                event(
                    "certificates.revoked",
                    by=SYSTEM,
                    at=self.clock(),
                    subject=f"host {found.id}",
                    authority=found.authority,
                    request_id=request_id,
                    reason="replaced",
                ),
            )

    def live(
        self, found: Host | None = None, *, key: PublicKey | None = None
    ) -> Iterator[LedgerCertificate]:
        """Yield the live certificates of a host, for a key, or of a host for a key."""
        wanted = CertificateFilter(
            authorities=None if found is None else (found.authority,),
            type=CertificateType.HOST,
            host=None if found is None else found.id,
            subject_key=None if key is None else key.fingerprint,
            live_at=self.clock(),
            revoked=False,
        )
        return every(partial(self.ledger.certificates.list, wanted))
