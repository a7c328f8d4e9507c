"""How hosts say they are doing, and who is logged in there."""

from tatu.api import limits, shown, told
from tatu.api.hostschemas import ReportRequest, SessionList, SessionShown
from tatu.api.operation import Call, operation
from tatu.api.schemas import HostId, Id, Links
from tatu.core.claims import Finding, LiveSession, Report
from tatu.service.joining import Joined


@operation(by_host=True)
def take(call: Call, authority: Id, host: HostId, body: ReportRequest) -> None:
    """Take a host's report, in place of its last one."""
    limits.take(
        call.parts, "reports-host", call.parts.settings.rates.reports_host, authority, host
    )
    call.parts.reports.take(
        Report(
            authority=authority,
            host=host,
            received_at=call.parts.clock(),
            agent_version=body.agent_version,
            openssh=body.openssh,
            os=body.os,
            findings=tuple(
                Finding(level=each.level, about=each.about, detail=each.detail)
                for each in body.findings
            ),
            sessions=tuple(
                LiveSession(
                    id=each.id,
                    account=each.account,
                    certificate=told.certificate(each),
                    since=told.moment(each.since),
                    source=each.source,
                )
                for each in body.sessions
            ),
        )
    )


@operation(rule="tatu:sessions:list")
def sessions(call: Call, authority: Id, host: HostId) -> SessionList:
    """List the sessions that were open when the host last reported."""
    found = call.parts.ledger.hosts.get(authority, host, scope=(authority,))
    report = call.parts.reports.state(found).report
    if report is None:
        return SessionList(items=[], links=Links())
    return SessionList(
        items=[
            _shown(session, call.parts.reports.joined(report, session))
            for session in report.sessions
        ],
        links=Links(),
        received_at=shown.when(report.received_at),
    )


def _shown(session: LiveSession, joined: Joined) -> SessionShown:
    known = joined.certificate
    return SessionShown(
        id=session.id,
        account=session.account,
        serial=session.certificate.serial,
        key_id=session.certificate.key_id,
        since=shown.when(session.since),
        source=session.source,
        user_name=known.user_name if known else None,
        alarm=joined.mismatch or None,
    )
