"""From what the ledger knows to what is answered."""

from datetime import datetime

from tatu.api.hostschemas import FindingShown, HostKeyShown, HostShown, ReceiptShown, ReportShown
from tatu.api.schemas import (
    AuthorityKeyShown,
    AuthorityShown,
    CertificateShown,
    LeftOutShown,
    ProfileShown,
    RoleHeld,
    WhoAmI,
)
from tatu.core.authority import Authority
from tatu.core.certificate import CertificateType
from tatu.core.claims import Receipt, Report
from tatu.core.host import Host
from tatu.core.identity import Identity
from tatu.core.keys import PublicKey
from tatu.core.principals import LeftOut
from tatu.ports import LedgerCertificate


def when(moment: datetime) -> datetime:
    """Cut a time to the second, which is how it is written on the wire."""
    return moment.replace(microsecond=0)


def when_or_none(moment: datetime | None) -> datetime | None:
    """Cut a time to the second, if there is one."""
    return None if moment is None else when(moment)


def identity(found: Identity) -> WhoAmI:
    """Show who the caller is."""
    return WhoAmI(
        issuer=found.issuer,
        subject=found.subject,
        name=found.name,
        project=found.project,
        roles=[RoleHeld(id=role.id, name=role.name) for role in sorted(found.roles)],
        expires_at=when(found.expires_at),
        fresh=found.fresh,
    )


def authority(found: Authority) -> AuthorityShown:
    """Show an authority; the key store's names of its keys are nobody's business."""
    profile = found.profile
    return AuthorityShown(
        id=found.id,
        name=found.name,
        profile=ProfileShown(
            user_validity=int(profile.user_validity.total_seconds()),
            max_user_validity=int(profile.max_user_validity.total_seconds()),
            host_validity=int(profile.host_validity.total_seconds()),
            extensions=sorted(profile.extensions),
            source_addresses=list(profile.source_addresses),
            dns_suffix=profile.dns_suffix,
            pam_sudo=profile.pam_sudo,
        ),
        keys=[
            AuthorityKeyShown(
                purpose=key.purpose,
                state=key.state,
                public_key=key.public_key.line,
                fingerprint=key.public_key.fingerprint,
                created_at=when(key.created_at),
                retired_at=when_or_none(key.retired_at),
                revoked_at=when_or_none(key.revoked_at),
            )
            for key in found.keys
        ],
        created_at=when(found.created_at),
        retired_at=when_or_none(found.retired_at),
        revision=found.revision,
    )


def certificate(
    found: LedgerCertificate,
    *,
    line: bool = False,
    left_out: tuple[LeftOut, ...] | None = None,
) -> CertificateShown:
    """Show a certificate, with the certificate itself when `line`."""
    return CertificateShown(
        authority=found.authority,
        type="user" if found.type is CertificateType.USER else "host",
        serial=found.serial,
        key_id=found.key_id,
        principals=list(found.principals),
        valid_after=when(found.valid_after),
        valid_before=when(found.valid_before),
        subject_key=found.subject_key,
        signature_key=found.signature_key,
        issued_at=when(found.issued_at),
        issuer=found.issuer or None,
        subject=found.subject or None,
        user_name=found.user_name or None,
        host=found.host or None,
        revoked_at=when_or_none(found.revoked_at),
        revoked_reason=found.revoked_reason,
        certificate=found.line if line else None,
        left_out=None
        if left_out is None
        else [LeftOutShown(role=out.role.name, reason=out.reason) for out in left_out],
    )


def host(
    found: Host, *, told_receipt: Receipt | None = None, told_report: Report | None = None
) -> HostShown:
    """Show a host, with what it told last."""
    return HostShown(
        id=found.id,
        authority=found.authority,
        names=list(found.names),
        addresses=list(found.addresses),
        principals=list(found.principals),
        state="enrolled" if found.host_keys else "admitted",
        host_keys=[
            HostKeyShown(fingerprint=PublicKey.parse(line).fingerprint) for line in found.host_keys
        ],
        created_at=when(found.created_at),
        enrolled_at=when_or_none(found.enrolled_at),
        refused_at=when_or_none(found.refused_at),
        renewal_due_at=when_or_none(found.renewal_due_at),
        legacy=found.legacy,
        receipt=None if told_receipt is None else receipt(told_receipt),
        report=None if told_report is None else report(told_report),
    )


def receipt(found: Receipt, *, proof: dict[str, str] | None = None) -> ReceiptShown:
    """Show what a host has shown to obey."""
    return ReceiptShown(
        statement_version=found.statement_version,
        krl_version=found.krl_version,
        krl_digest=found.krl_digest,
        at=when(found.at),
        received_at=when(found.received_at),
        proof=proof,
    )


def report(found: Report) -> ReportShown:
    """Show how a host says it is doing."""
    return ReportShown(
        received_at=when(found.received_at),
        agent_version=found.agent_version,
        openssh=found.openssh,
        os=found.os,
        findings=[
            FindingShown(level=each.level, about=each.about, detail=each.detail)
            for each in found.findings
        ],
        sessions=len(found.sessions),
    )
