"""Hosts, their certificates, and the tokens by which they enrol."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import structlog

from tatu.api import limits
from tatu.api.operation import Call, operation
from tatu.api.v1 import lists, scope, shown
from tatu.api.v1.door import Refused, refused
from tatu.api.v1.ids import AnyId, AnyName, dashed, spellings, undashed
from tatu.core.certificate import CertificateType
from tatu.core.errors import Conflict, NotFound
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.ports import CertificateFilter, LedgerCertificate
from tatu.service.enrolment import OtherKeys, Unproven
from tatu.service.paging import every

LOG = structlog.get_logger("tatu.api")


class HostTokenRequest(msgspec.Struct):
    """Which machine to admit, and what it is called."""

    host_id: AnyId
    auth_id: AnyId
    hostname: AnyName


class HostCertificateRequest(msgspec.Struct):
    """A host's token, in clear, and its key, which nothing proves."""

    token_id: AnyId
    host_id: AnyId
    pub_key: str


@operation(rule="tatu:hosts:list")
def listed(call: Call) -> dict[str, Any]:
    """List hosts, those of the other wire too."""
    part = partial(call.parts.ledger.hosts.list, authorities=scope.of_lists(call))
    return lists.page(call, "hosts", part, shown.host)


@operation(rule="tatu:hosts:show")
def show(call: Call, host_id: AnyId) -> dict[str, Any]:
    """Show a host."""
    for found in _hosts(call, scope.of_lists(call), host_id):
        return shown.host(found)
    raise NotFound("there is no such host")


@operation(rule="tatu:enrolment_tokens:create", status=201, audited=True)
def create_token(call: Call, body: HostTokenRequest) -> bytes:
    """Admit a host; where it stands is its token, the same while the epoch lasts."""
    scope.check_own(call, body.auth_id)
    authority = scope.authority(call, body.auth_id).id
    now = call.parts.clock()
    for known in _hosts(call, (authority,), body.host_id):
        if known.legacy and (known.host_keys or now < known.admitted_until):
            found = known
            break
    else:
        found = call.parts.admissions.admit(
            call.caller,
            authority,
            dashed(body.host_id),
            names=(body.hostname.partition(".")[0],),
            legacy=True,
            request_id=call.request_id,
        ).host
    shown.link(call, "hosttokens", call.parts.admissions.legacy_token(found))
    return b""


@operation(rule="tatu:host_certificates:list")
def list_certificates(call: Call) -> dict[str, Any]:
    """List host certificates, newest first."""
    wanted = CertificateFilter(authorities=scope.of_lists(call), type=CertificateType.HOST)
    part = partial(call.parts.ledger.certificates.list, wanted)
    return lists.page(call, "certs", part, shown.host_certificate)


@operation(rule="tatu:host_certificates:list")
def show_certificate(call: Call, host_id: AnyId, fingerprint: AnyId) -> dict[str, Any]:
    """Show a host's newest certificate for a key."""
    for found in _certificates(call, host_id):
        if fingerprint in (shown.fingerprint_of(found), found.subject_key):
            return shown.host_certificate(found)
    raise NotFound("there is no such certificate")


@operation()
def create_certificate(call: Call, body: HostCertificateRequest) -> dict[str, Any]:
    """Enrol a host of a project that the caller may know of."""
    return _enrolled(call, body, call.scope)


@operation(public=True, address_rate="enrolment_address")
def create_certificate_for_anyone(call: Call, body: HostCertificateRequest) -> dict[str, Any]:
    """Enrol a host by nothing but its token: a machine that boots has nothing else."""
    return _enrolled(call, body, None)


def _enrolled(
    call: Call, body: HostCertificateRequest, authorities: tuple[str, ...] | None
) -> dict[str, Any]:
    parts = call.parts
    rate = parts.settings.rates.enrolment_host
    try:
        found, certificate = parts.enrolment.redeem_legacy(
            spellings(body.host_id),
            body.token_id,
            PublicKey.parse(body.pub_key),
            scope=authorities,
            count=lambda host: limits.take(parts, "enrolment-host", rate, host.authority, host.id),
            request_id=call.request_id,
        )
    except NotFound as error:
        _denied(call, known=False)
        raise refused(404, "No Token found with that ID") from error
    except Unproven as error:
        _denied(call, known=True)
        raise refused(409, "The token is not valid for this instance ID") from error
    except OtherKeys as error:
        raise refused(409, "Token already signed a different public key") from error
    except Conflict as error:
        raise Refused(409, "This public key is already signed.", str(error)) from error
    made = shown.host_certificate(certificate, shown.comment(body.pub_key))
    shown.link(call, "hostcerts", undashed(found.id), made["fingerprint"])
    return made


def _denied(call: Call, *, known: bool) -> None:
    call.shared.metrics.count_unproven(known=known)
    where = limits.address(call.request, call.parts.settings.trusted_proxies)
    LOG.warning("enrolment denied", known=known, where=where, id=call.request_id)


def _hosts(call: Call, authorities: tuple[str, ...] | None, host_id: str) -> Iterator[Host]:
    """Yield the hosts that an id may mean."""
    ids = spellings(host_id)
    return every(partial(call.parts.ledger.hosts.list, authorities=authorities, ids=ids))


def _certificates(call: Call, host_id: str) -> Iterator[LedgerCertificate]:
    authorities = scope.of_lists(call)
    for spelled in spellings(host_id):
        wanted = CertificateFilter(
            authorities=authorities, type=CertificateType.HOST, host=spelled
        )
        yield from every(partial(call.parts.ledger.certificates.list, wanted))
