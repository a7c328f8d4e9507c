"""Groups of the embedded directory, and who is in them."""

import uuid

from tatu.api import paging
from tatu.api.directory import administration, directory
from tatu.api.operation import Call, operation
from tatu.api.schemas import (
    GroupList,
    GroupShown,
    Id,
    Links,
    Name,
    NamedRequest,
    Paging,
    UserList,
    UserShown,
)
from tatu.ports import Group


def _shown(found: Group) -> GroupShown:
    return GroupShown(id=found.id, name=found.name)


@operation(rule="tatu:groups:list")
def listed(call: Call, query: Paging) -> GroupList:
    """List groups."""
    page = directory(call).groups(limit=query.limit, marker=query.marker)
    return GroupList(
        items=[_shown(found) for found in page.items], links=paging.links(call, page.marker)
    )


@operation(rule="tatu:groups:create", status=201, kept=True)
def create(call: Call, body: NamedRequest) -> GroupShown:
    """Add a group."""
    group = Group(id=body.id or uuid.uuid4().hex, name=body.name)
    administration(call).create_group(call.caller, group, request_id=call.request_id)
    return _shown(group)


@operation(rule="tatu:groups:show")
def show(call: Call, group: Name) -> GroupShown:
    """Show a group."""
    return _shown(directory(call).group(group))


@operation(rule="tatu:groups:delete", publishes=True)
def delete(call: Call, group: Id) -> None:
    """Delete a group: its members lose what it gave them."""
    administration(call).delete_group(call.caller, group, request_id=call.request_id)


@operation(rule="tatu:group_members:list")
def list_members(call: Call, group: Id) -> UserList:
    """List a group's users."""
    found = directory(call).members(group)
    return UserList(
        items=[UserShown(id=user.id, name=user.name, enabled=user.enabled) for user in found],
        links=Links(),
    )


@operation(rule="tatu:group_members:create")
def add_member(call: Call, group: Id, user: Id) -> None:
    """Add a user to a group."""
    administration(call).add_member(call.caller, group, user, request_id=call.request_id)


@operation(rule="tatu:group_members:delete", publishes=True)
def remove_member(call: Call, group: Id, user: Id) -> None:
    """Remove a user from a group, who loses what it gave."""
    administration(call).remove_member(call.caller, group, user, request_id=call.request_id)
