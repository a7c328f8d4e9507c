"""The audit chain, as its readers fetch it."""

from tatu.api import paging
from tatu.api.operation import Call, operation
from tatu.api.schemas import AuditEventList, AuditEventShown, AuditFilters


@operation(rule="tatu:audit_events:list")
def listed(call: Call, query: AuditFilters) -> AuditEventList:
    """Read the audit chain in order: a project's events, or all."""
    found = call.parts.ledger.audit.read(
        after=query.after, limit=query.limit, authorities=call.scope
    )
    more = str(found[-1].sequence) if len(found) == query.limit else None
    return AuditEventList(
        items=[
            AuditEventShown(
                sequence=link.sequence, previous=link.previous, body=link.body, hash=link.hash
            )
            for link in found
        ],
        links=paging.links(call, more, name="after"),
    )
