"""Roles, and the accounts that they open; those of the embedded directory are made here."""

import uuid

from tatu.api.directory import administration
from tatu.api.operation import Call, operation
from tatu.api.schemas import Id, Links, Name, NamedRequest, RoleList, RoleShown
from tatu.core.errors import NotFound
from tatu.core.identity import Role


@operation(rule="tatu:roles:list")
def listed(call: Call) -> RoleList:
    """List roles, each with the account that it opens or why it opens none."""
    return RoleList(items=list(_all(call).values()), links=Links())


@operation(rule="tatu:roles:create", status=201, kept=True, publishes=True)
def create(call: Call, body: NamedRequest) -> RoleShown:
    """Add a role; hosts get its account with their next statement."""
    role = Role(id=body.id or uuid.uuid4().hex, name=body.name)
    administration(call).create_role(call.caller, role, request_id=call.request_id)
    return _all(call)[role.id]


@operation(rule="tatu:roles:show")
def show(call: Call, role: Name) -> RoleShown:
    """Show a role."""
    roles = _all(call)
    found = roles.get(role) or next((each for each in roles.values() if each.name == role), None)
    if found is None:
        raise NotFound(f"there is no role {role!r}")
    return found


@operation(rule="tatu:roles:delete", publishes=True)
def delete(call: Call, role: Id) -> None:
    """Delete a role: whoever holds it loses it, hosts lose its account."""
    administration(call).delete_role(call.caller, role, request_id=call.request_id)


def _all(call: Call) -> dict[str, RoleShown]:
    """Judge all roles together: two that would share an account open none (security.md S5)."""
    opened = call.parts.issuance.role_map.of(call.parts.identities.roles())
    given = {
        role.id: RoleShown(id=role.id, name=role.name, account=account)
        for account, role in opened.given.items()
    }
    refused = {
        out.role.id: RoleShown(id=out.role.id, name=out.role.name, refusal=out.reason)
        for out in opened.left_out
    }
    return given | refused
