"""Who holds which role in which project of the embedded directory."""

from tatu.api.directory import administration, directory
from tatu.api.operation import Call, operation
from tatu.api.schemas import (
    AssignmentBody,
    AssignmentFilters,
    AssignmentList,
    AssignmentShown,
    Links,
)
from tatu.core.errors import Malformed
from tatu.ports import Assignment


def _shown(found: Assignment) -> AssignmentShown:
    return AssignmentShown(
        project=found.project, role=found.role, user=found.user, group=found.group
    )


def _read(body: AssignmentBody) -> Assignment:
    if (body.user is None) == (body.group is None):
        raise Malformed("a role is held by a user or a group: name one of them")
    return Assignment(project=body.project, role=body.role, user=body.user, group=body.group)


@operation(rule="tatu:assignments:list")
def listed(call: Call, query: AssignmentFilters) -> AssignmentList:
    """List who holds which role, as it was given."""
    found = directory(call).assignments(project=query.project, user=query.user, group=query.group)
    return AssignmentList(items=[_shown(one) for one in found], links=Links())


@operation(rule="tatu:assignments:create", status=201, kept=True)
def create(call: Call, body: AssignmentBody) -> AssignmentShown:
    """Give a role."""
    assignment = _read(body)
    administration(call).assign(call.caller, assignment, request_id=call.request_id)
    return _shown(assignment)


@operation(rule="tatu:assignments:delete", publishes=True)
def remove(call: Call, body: AssignmentBody) -> None:
    """Take a role away; the certificates that needed it end."""
    administration(call).unassign(call.caller, _read(body), request_id=call.request_id)
