"""Certificates that hosts name, joined with what the ledger issued (security.md S19)."""

from dataclasses import dataclass

from tatu.core.certificate import CertificateType
from tatu.core.claims import ClaimedCertificate
from tatu.core.errors import NotFound
from tatu.ports import Ledger, LedgerCertificate

BREAK_GLASS = "break-glass"
UNKNOWN = "unknown serial"


@dataclass(frozen=True, kw_only=True)
class Joined:
    """What the ledger knows of a certificate that a host named.

    `certificate` is the one of that serial if all that the host named is as it was issued; else
    `mismatch` says what is not.
    """

    certificate: LedgerCertificate | None = None
    mismatch: str = ""


@dataclass(frozen=True, kw_only=True)
class Joining:
    """Compares (CA, serial, key ID, subject key) within one authority.

    A forged certificate can have a live serial and its key ID: only the keys tell it apart.
    """

    ledger: Ledger
    break_glass: frozenset[str]

    def join(self, authority_id: str, claimed: ClaimedCertificate) -> Joined:
        """Look a certificate up; `break_glass` are the fingerprints of keys that are offline."""
        if claimed.signature_key in self.break_glass:
            return Joined(mismatch=BREAK_GLASS)
        if not 0 < claimed.serial < 2**63:
            return Joined(mismatch=UNKNOWN)
        try:
            known = self.ledger.certificates.get(
                authority_id, claimed.serial, scope=(authority_id,)
            )
        except NotFound:
            return Joined(mismatch=UNKNOWN)
        mismatch = _mismatch(known, claimed)
        return Joined(mismatch=mismatch) if mismatch else Joined(certificate=known)


def _mismatch(known: LedgerCertificate, claimed: ClaimedCertificate) -> str:
    for what, holds in (
        ("host certificate", known.type is CertificateType.USER),
        ("other signature key", known.signature_key == claimed.signature_key),
        ("other subject key", known.subject_key == claimed.subject_key),
        ("other key ID", known.key_id == claimed.key_id),
    ):
        if not holds:
            return what
    return ""
