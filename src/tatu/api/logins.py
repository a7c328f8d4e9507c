"""Who logged in where, as hosts tell it."""

from tatu.api import limits, paging, shown, told
from tatu.api.hostschemas import LoginFilters, LoginList, LoginShown, LoginsRequest, LoginsTaken
from tatu.api.operation import Call, operation
from tatu.api.schemas import HostId, Id
from tatu.core.claims import Login, LoginKind
from tatu.ports import LedgerLogin, LoginFilter

OTHERS = "tatu:logins:list_project"


@operation(by_host=True)
def take(call: Call, authority: Id, host: HostId, body: LoginsRequest) -> LoginsTaken:
    """Take what happened on a host."""
    rate = call.parts.settings.rates.reports_host
    limits.take(call.parts, "logins-host", rate, authority, host)
    stored = call.parts.logins.take(
        call.host_caller.host,
        [
            Login(
                id=each.id,
                at=told.moment(each.at),
                kind=LoginKind(each.kind),
                account=each.account,
                certificate=told.certificate_or_none(each),
                source=each.source,
                detail=each.detail,
            )
            for each in body.events
        ],
        lost=body.lost,
        request_id=call.request_id,
    )
    return LoginsTaken(stored=stored)


@operation(rule="tatu:logins:list")
def listed(call: Call, query: LoginFilters) -> LoginList:
    """List logins: one's own, or those to all hosts of the project."""
    page = call.parts.ledger.logins.list(
        LoginFilter(
            authorities=paging.scope(call, query.authority),
            subject=call.parts.access.own_only(call.caller, OTHERS, query.authority),
            host=query.host,
            account=query.account,
            serial=query.serial,
            kind=None if query.kind is None else LoginKind(query.kind),
            after=None if query.after is None else told.moment(query.after),
            alarming=query.alarm,
        ),
        limit=query.limit,
        marker=query.marker,
    )
    return LoginList(
        items=[_shown(found) for found in page.items], links=paging.links(call, page.marker)
    )


def _shown(found: LedgerLogin) -> LoginShown:
    login, certificate = found.login, found.login.certificate
    return LoginShown(
        authority=found.authority,
        host=found.host,
        id=login.id,
        at=shown.when(login.at),
        received_at=shown.when(found.received_at),
        kind=login.kind,
        account=login.account,
        serial=None if certificate is None else certificate.serial,
        key_id=None if certificate is None else certificate.key_id,
        subject_key=None if certificate is None else certificate.subject_key,
        signature_key=None if certificate is None else certificate.signature_key,
        source=login.source or None,
        detail=login.detail or None,
        user_name=found.user_name or None,
        alarm=found.alarm or None,
    )
