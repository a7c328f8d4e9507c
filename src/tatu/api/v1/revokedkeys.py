"""Revocation lists, and what puts a certificate on one."""

from contextlib import suppress
from typing import Any

import msgspec

from tatu.api import revocations
from tatu.api.operation import Call, operation
from tatu.api.v1 import scope, shown, usercerts
from tatu.api.v1.door import Refused
from tatu.api.v1.ids import AnyId, spellings
from tatu.core.certificate import CertificateType
from tatu.core.errors import NotFound
from tatu.ports import CertificateFilter, RevocationSelector

_REASON = "revoked on the original's wire"
_MAX = 2**63


class RevocationRequest(msgspec.Struct):
    """Which certificate: the command line sends its serial as text, the dashboard as a number."""

    serial: int | AnyId | None = None


@operation()
def show(call: Call, auth_id: AnyId) -> dict[str, Any]:
    """Return the newest list of a project that the caller may know of."""
    return _shown(call, scope.authority(call, auth_id).id)


@operation(public=True, address_rate="revoked_keys_address")
def show_to_anyone(call: Call, auth_id: AnyId) -> dict[str, Any]:
    """Return the newest list: it is as public as in `/v2`, and as cheap."""
    for spelled in spellings(auth_id):
        with suppress(NotFound):
            return _shown(call, spelled)
    raise scope.no_authority()


@operation(rule="tatu:revocations:create", publishes=True)
def create(call: Call, auth_id: AnyId, body: RevocationRequest) -> dict[str, Any]:
    """Revoke a certificate: one's own, or anybody's of the project."""
    if body.serial is None:
        raise Refused(400, "Cannot identify which Cert to revoke.")
    revocations.count(call)
    serial = _number(body.serial)
    caller, access = call.caller, call.parts.access
    try:
        authority = scope.authority(call, auth_id).id
    except Refused:
        raise Refused(400, f"Incorrect CA ID for serial # {serial}") from None
    own = access.own_only(caller, "tatu:revocations:create_project", authority)
    wanted = CertificateFilter(
        authorities=(authority,), type=CertificateType.USER, subject=own, serial=serial
    )
    try:
        found = usercerts.one(call, wanted)
    except NotFound:
        raise _unknown(serial) from None
    if found.revoked_at is not None:
        raise Refused(400, "Certificate was already revoked.")
    selector = RevocationSelector(authority=authority, serial=serial, subjects_only=own)
    call.parts.revocation.revoke(caller, selector, _REASON, request_id=call.request_id)
    return {}


def _number(serial: int | str) -> int:
    text = str(serial)
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(_MAX))
    if not digits or not 0 < int(text) < _MAX:
        raise _unknown(text)
    return int(text)


def _unknown(serial: object) -> Refused:
    return Refused(400, f"Can't find the certificate for serial # {serial}")


def _shown(call: Call, authority: str) -> dict[str, Any]:
    newest = call.shared.newest.get(authority).publication.krl_version
    return shown.krl(authority, call.parts.statements.krl(authority, newest))
