"""Certificate authorities."""

from functools import partial
from typing import Any

import msgspec

from tatu.api.operation import Call, operation
from tatu.api.v1 import lists, scope, shown
from tatu.api.v1.door import Refused
from tatu.api.v1.ids import AnyId, undashed
from tatu.core.errors import Conflict


class AuthorityRequest(msgspec.Struct):
    """Whose authority to make."""

    auth_id: AnyId


@operation(rule="tatu:authorities:list")
def listed(call: Call) -> dict[str, Any]:
    """List the authorities that the caller may know of."""
    part = partial(call.parts.authorities.list, only=scope.of_lists(call))
    return lists.page(call, "CAs", part, shown.authority)


@operation(rule="tatu:authorities:show")
def show(call: Call, auth_id: AnyId) -> dict[str, Any]:
    """Show an authority."""
    return shown.authority(scope.authority(call, auth_id))


@operation(rule="tatu:authorities:create", status=201, publishes=True)
def create(call: Call, body: AuthorityRequest) -> dict[str, Any]:
    """Make a project's authority; the original answers nothing, and its client shows blanks."""
    caller, parts = call.caller, call.parts
    scope.check_own(call, body.auth_id)
    own = caller.project if scope.is_own(call, body.auth_id) else None
    found = parts.identities.project(own or undashed(body.auth_id))
    if parts.authorities.list(only=(found.id,), limit=1, marker=None).items:
        raise Refused(409, "This certificate authority already exists.")
    if not found.enabled:
        raise Conflict(f"project {found.id!r} is disabled")
    made = parts.authorities.create(caller, found.id, found.name, request_id=call.request_id)
    shown.link(call, "authorities", undashed(made.id))
    return shown.authority(made)
