"""User and host certificates."""

from datetime import timedelta
from typing import Literal

from tatu.api import limits, paging, shown
from tatu.api.operation import Call, operation
from tatu.api.problems import problem
from tatu.api.schemas import (
    BatchItem,
    BatchProblem,
    BatchRequest,
    BatchShown,
    CertificateFilters,
    CertificateList,
    CertificateShown,
    CertificateStatus,
    HostCertificateFilters,
    Id,
    Serial,
    UserCertificateRequest,
)
from tatu.core.certificate import CertificateType
from tatu.core.errors import Malformed, NotFound, TatuError
from tatu.core.keys import PublicKey
from tatu.core.policy import Wanted
from tatu.ports import CertificateFilter, LedgerCertificate
from tatu.service.issuance import Issued

OTHERS = "tatu:user_certificates:list_project"


@operation(
    rule="tatu:user_certificates:create", status=201, kept=True, remembered=True, audited=True
)
def create(call: Call, authority: Id, body: UserCertificateRequest) -> CertificateShown:
    """Issue a user certificate."""
    count(call)
    issued = call.parts.issuance.user_certificate(
        call.facts,
        call.caller,
        authority,
        _wanted(body),
        body.proof,
        request_id=call.request_id,
    )
    return _issued(issued)


@operation(rule="tatu:user_certificates:create", kept=True, remembered=True, audited=True)
def create_batch(call: Call, authority: Id, body: BatchRequest) -> BatchShown:
    """Issue up to 100 user certificates, each for itself."""
    for _ in body.items:
        count(call)
    found = call.parts.issuance.batch(
        call.facts,
        call.caller,
        authority,
        [_readable(item) for item in body.items],
        request_id=call.request_id,
    )
    return BatchShown(items=[_item(result) for result in found])


@operation(rule="tatu:user_certificates:list")
def list_user(call: Call, query: CertificateFilters) -> CertificateList:
    """List user certificates: one's own, or the project's."""
    own = call.parts.access.own_only(call.caller, OTHERS, query.authority)
    if own is not None and query.subject not in (None, own):
        # The same answer whether that user exists: nothing of others' is there to be seen.
        return CertificateList(items=[], links=paging.links(call, None))
    return _list(
        call,
        CertificateFilter(
            authorities=paging.scope(call, query.authority),
            type=CertificateType.USER,
            subject=query.subject if own is None else own,
            subject_key=query.subject_key,
            serial=query.serial,
            revoked=query.revoked,
            live_at=call.parts.clock() if query.live else None,
        ),
        query.limit,
        query.marker,
    )


@operation(rule="tatu:host_certificates:list")
def list_host(call: Call, query: HostCertificateFilters) -> CertificateList:
    """List host certificates."""
    return _list(
        call,
        CertificateFilter(
            authorities=paging.scope(call, query.authority),
            type=CertificateType.HOST,
            host=query.host,
            subject_key=query.subject_key,
            serial=query.serial,
            revoked=query.revoked,
            live_at=call.parts.clock() if query.live else None,
        ),
        query.limit,
        query.marker,
    )


@operation(rule="tatu:user_certificates:list")
def show_user(call: Call, authority: Id, serial: Serial) -> CertificateShown:
    """Show a user certificate."""
    own = call.parts.access.own_only(call.caller, OTHERS, authority)
    return shown.certificate(_one(call, authority, serial, CertificateType.USER, own), line=True)


@operation(rule="tatu:host_certificates:list")
def show_host(call: Call, authority: Id, serial: Serial) -> CertificateShown:
    """Show a host certificate."""
    return shown.certificate(_one(call, authority, serial, CertificateType.HOST, None), line=True)


@operation(rule="tatu:certificates:status")
def status(call: Call, authority: Id, serial: Serial) -> CertificateStatus:
    """Tell whether a certificate is valid now."""
    found = _one(call, authority, serial, None, None)
    now = call.parts.clock()
    state: Literal["valid", "expired", "revoked", "not-yet-valid"]
    if found.revoked_at is not None:
        state = "revoked"
    elif now >= found.valid_before:
        state = "expired"
    else:
        state = "valid" if now >= found.valid_after else "not-yet-valid"
    return CertificateStatus(
        authority=authority,
        serial=serial,
        type="user" if found.type is CertificateType.USER else "host",
        status=state,
        revoked_at=shown.when_or_none(found.revoked_at),
        reason=found.revoked_reason,
    )


def count(call: Call) -> None:
    """Count a certificate against the caller's limit; raises `TooMany`."""
    caller = call.caller
    rate = call.parts.settings.rates.certificates_account
    limits.take(call.parts, "certificates", rate, caller.issuer, caller.subject)


def _wanted(body: UserCertificateRequest) -> Wanted:
    return Wanted(
        subject_key=PublicKey.parse(body.public_key),
        principals=None if body.principals is None else frozenset(body.principals),
        validity=None if body.validity is None else timedelta(seconds=body.validity),
        force_command=body.force_command,
        source_addresses=None if body.source_addresses is None else tuple(body.source_addresses),
    )


def _readable(item: UserCertificateRequest) -> tuple[Wanted, str] | Malformed:
    """Return what an item wants, with its proof; or why it cannot be read, for it alone."""
    try:
        return _wanted(item), item.proof
    except Malformed as error:
        return error


def _issued(issued: Issued) -> CertificateShown:
    return shown.certificate(issued.certificate, line=True, left_out=issued.left_out)


def _item(result: Issued | TatuError) -> BatchItem:
    if isinstance(result, Issued):
        return BatchItem(status=201, certificate=_issued(result))
    told = problem(result.slug, str(result))
    return BatchItem(
        status=told.status,
        problem=BatchProblem(
            type=told.type, title=told.title, status=told.status, detail=told.detail
        ),
    )


def _list(
    call: Call, wanted: CertificateFilter, limit: int, marker: str | None
) -> CertificateList:
    page = call.parts.ledger.certificates.list(wanted, limit=limit, marker=marker)
    return CertificateList(
        items=[shown.certificate(found) for found in page.items],
        links=paging.links(call, page.marker),
    )


def _one(
    call: Call, authority: str, serial: int, kind: CertificateType | None, own: str | None
) -> LedgerCertificate:
    """Return a certificate within the caller's scope: one query, whatever there is."""
    wanted = CertificateFilter(authorities=(authority,), type=kind, subject=own, serial=serial)
    for found in call.parts.ledger.certificates.list(wanted, limit=1, marker=None).items:
        return found
    raise NotFound(f"there is no certificate {serial} of authority {authority!r}")
