"""Projects of the embedded directory."""

import uuid

from tatu.api import paging
from tatu.api.directory import administration, directory
from tatu.api.operation import Call, operation
from tatu.api.schemas import (
    EnabledChange,
    Id,
    Name,
    NamedRequest,
    Paging,
    ProjectList,
    ProjectShown,
)
from tatu.ports import Project


def _shown(found: Project) -> ProjectShown:
    return ProjectShown(id=found.id, name=found.name, enabled=found.enabled)


@operation(rule="tatu:projects:list")
def listed(call: Call, query: Paging) -> ProjectList:
    """List projects."""
    page = directory(call).projects(limit=query.limit, marker=query.marker)
    return ProjectList(
        items=[_shown(found) for found in page.items], links=paging.links(call, page.marker)
    )


@operation(rule="tatu:projects:create", status=201, kept=True)
def create(call: Call, body: NamedRequest) -> ProjectShown:
    """Add a project."""
    project = Project(id=body.id or uuid.uuid4().hex, name=body.name)
    administration(call).create_project(call.caller, project, request_id=call.request_id)
    return _shown(project)


@operation(rule="tatu:projects:show")
def show(call: Call, project: Name) -> ProjectShown:
    """Show a project."""
    return _shown(directory(call).project(project))


@operation(rule="tatu:projects:change", publishes=True)
def change(call: Call, project: Id, body: EnabledChange) -> ProjectShown:
    """Enable a project, or disable it: every certificate of its users ends."""
    return _shown(
        administration(call).enable_project(
            call.caller, project, enabled=body.enabled, request_id=call.request_id
        )
    )


@operation(rule="tatu:projects:delete", publishes=True)
def delete(call: Call, project: Id) -> None:
    """Delete a project: every certificate of its users ends."""
    administration(call).delete_project(call.caller, project, request_id=call.request_id)
