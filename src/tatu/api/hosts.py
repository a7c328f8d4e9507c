"""Hosts, and the tokens that admit them."""

from datetime import timedelta

from tatu.api import limits, paging, shown
from tatu.api.hostschemas import (
    EnrolmentTokenRequest,
    EnrolmentTokenShown,
    HostFilters,
    HostList,
    HostShown,
    RenewalRequest,
    RenewalShown,
)
from tatu.api.operation import Call, operation
from tatu.api.schemas import HostId, Id


@operation(rule="tatu:hosts:list")
def listed(call: Call, query: HostFilters) -> HostList:
    """List hosts."""
    page = call.parts.ledger.hosts.list(
        authorities=paging.scope(call, query.authority), limit=query.limit, marker=query.marker
    )
    return HostList(
        items=[shown.host(found) for found in page.items], links=paging.links(call, page.marker)
    )


@operation(rule="tatu:hosts:show")
def show(call: Call, authority: Id, host: HostId) -> HostShown:
    """Show a host, and what it told last."""
    found = call.parts.ledger.hosts.get(authority, host, scope=(authority,))
    state = call.parts.reports.state(found)
    return shown.host(found, told_receipt=state.receipt, told_report=state.report)


@operation(rule="tatu:hosts:delete", publishes=True)
def delete(call: Call, authority: Id, host: HostId) -> None:
    """Delete a host: its certificates end, its names are free again."""
    call.parts.revocation.delete_host(call.caller, authority, host, request_id=call.request_id)


@operation(rule="tatu:enrolment_tokens:create", status=201, audited=True)
def admit(call: Call, authority: Id, body: EnrolmentTokenRequest) -> EnrolmentTokenShown:
    """Admit a host, or admit it again, and get its one-time token."""
    admission = call.parts.admissions.admit(
        call.caller,
        authority,
        body.host,
        names=None if body.names is None else tuple(body.names),
        addresses=None if body.addresses is None else tuple(body.addresses),
        validity=None if body.validity is None else timedelta(seconds=body.validity),
        request_id=call.request_id,
    )
    return EnrolmentTokenShown(
        token=str(admission.token),
        host=shown.host(admission.host),
        expires_at=shown.when(admission.host.admitted_until),
    )


@operation(by_host=True, status=201)
def renew(call: Call, authority: Id, host: HostId, body: RenewalRequest) -> RenewalShown:
    """Renew a host's certificates, for what it is called now."""
    rate = call.parts.settings.rates.enrolment_host  # it makes the cloud be asked
    limits.take(call.parts, "renewal-host", rate, authority, host)
    certificates = call.parts.renewal.renew(call.host_caller.host, request_id=call.request_id)
    return RenewalShown(certificates=[certificate.line for certificate in certificates])
