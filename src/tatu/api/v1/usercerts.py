"""User certificates: by token alone, for the wire has no place for a proof (security.md S6)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from tatu.api import certificates
from tatu.api.operation import Call, operation
from tatu.api.schemas import Serial
from tatu.api.v1 import lists, scope, shown
from tatu.api.v1.door import refused
from tatu.api.v1.ids import AnyId, spellings, undashed
from tatu.core.certificate import CertificateType
from tatu.core.errors import NotFound
from tatu.core.keys import PublicKey
from tatu.ports import CertificateFilter, LedgerCertificate
from tatu.service.paging import every

_ABSENT = "there is no such certificate"


class UserCertificateRequest(msgspec.Struct):
    """For whom, by which authority, and for which key."""

    user_id: AnyId
    auth_id: AnyId
    pub_key: str


@operation(rule="tatu:user_certificates:create", status=201, remembered=True, audited=True)
def create(call: Call, body: UserCertificateRequest) -> dict[str, Any]:
    """Issue a certificate; for the same key the one that stands, while it lives.

    Nobody may have one for another user or, whoever they are, by another project's authority.
    """
    caller, issuance = call.caller, call.parts.issuance
    if undashed(body.user_id) != undashed(caller.subject):
        raise scope.denied(call, "user_id is not the user of the token")
    if not scope.is_own(call, body.auth_id):
        raise scope.denied(call, "auth_id is not the project of the token")
    certificates.count(call)
    authority = scope.authority(call, body.auth_id).id
    key = PublicKey.parse(body.pub_key)
    found = issuance.unproven(call.facts, caller, authority, key, request_id=call.request_id)
    made = shown.user_certificate(found, shown.comment(body.pub_key))
    shown.link(call, "usercerts", made["user_id"], made["fingerprint"])
    return made


@operation(rule="tatu:user_certificates:list")
def listed(call: Call) -> dict[str, Any]:
    """List certificates, newest first: one's own, or the project's."""
    part = partial(call.parts.ledger.certificates.list, _seen(call))
    return lists.page(call, "certs", part, shown.user_certificate)


@operation(rule="tatu:user_certificates:list")
def show(call: Call, which: Serial) -> dict[str, Any]:
    """Show the certificate of a serial, which here is a project's: that of the token."""
    return shown.user_certificate(one(call, _seen(call, serial=which)))


@operation(rule="tatu:user_certificates:list")
def show_by_key(call: Call, which: AnyId, fingerprint: AnyId) -> dict[str, Any]:
    """Show the newest certificate of a user, by their id, for a key."""
    for found in _of_user(call, which):
        if fingerprint in (shown.fingerprint_of(found), found.subject_key):
            return shown.user_certificate(found)
    raise NotFound(_ABSENT)


def one(call: Call, wanted: CertificateFilter) -> LedgerCertificate:
    """Return the certificate that is wanted.

    Raises `NotFound`; with all projects in sight a serial may be that of several certificates.
    """
    found = call.parts.ledger.certificates.list(wanted, limit=2, marker=None).items
    if len(found) > 1:
        raise refused(409, f"several projects have it: name one by {scope.ONE_PROJECT}")
    for certificate in found:
        return certificate
    raise NotFound(_ABSENT)


def _of_user(call: Call, user_id: str) -> Iterator[LedgerCertificate]:
    """Yield the certificates of a user that the caller may see, whatever the id's spelling."""
    caller = call.caller
    same = undashed(user_id) == undashed(caller.subject)
    for subject in (caller.subject,) if same else spellings(user_id):
        wanted = _seen(call, subject=subject)
        if wanted.subject == subject:
            yield from every(partial(call.parts.ledger.certificates.list, wanted))


def _seen(
    call: Call, *, serial: int | None = None, subject: str | None = None
) -> CertificateFilter:
    """Return which certificates the caller may see, of a serial or a user when one is named."""
    own = call.parts.access.own_only(call.caller, certificates.OTHERS, call.caller.project)
    return CertificateFilter(
        authorities=scope.of_lists(call),
        type=CertificateType.USER,
        subject=subject if own is None else own,
        serial=serial,
    )
