"""Users of the embedded directory, and the keys that they sign in with."""

import uuid

from tatu.api import paging, shown
from tatu.api.directory import administration, directory
from tatu.api.operation import Call, operation
from tatu.api.schemas import (
    EnabledChange,
    Fingerprint,
    Id,
    Links,
    Name,
    NamedRequest,
    Paging,
    UserKeyList,
    UserKeyRequest,
    UserKeyShown,
    UserList,
    UserShown,
)
from tatu.core.keys import PublicKey
from tatu.ports import User, UserKey


def _shown(found: User) -> UserShown:
    return UserShown(id=found.id, name=found.name, enabled=found.enabled)


def _key_shown(found: UserKey) -> UserKeyShown:
    return UserKeyShown(
        public_key=found.public_key.line,
        fingerprint=found.public_key.fingerprint,
        created_at=shown.when(found.created_at),
    )


@operation(rule="tatu:users:list")
def listed(call: Call, query: Paging) -> UserList:
    """List users."""
    page = directory(call).users(limit=query.limit, marker=query.marker)
    return UserList(
        items=[_shown(found) for found in page.items], links=paging.links(call, page.marker)
    )


@operation(rule="tatu:users:create", status=201, kept=True)
def create(call: Call, body: NamedRequest) -> UserShown:
    """Add a user."""
    user = User(id=body.id or uuid.uuid4().hex, name=body.name)
    administration(call).create_user(call.caller, user, request_id=call.request_id)
    return _shown(user)


@operation(rule="tatu:users:show")
def show(call: Call, user: Name) -> UserShown:
    """Show a user."""
    return _shown(directory(call).user(user))


@operation(rule="tatu:users:change", publishes=True)
def change(call: Call, user: Id, body: EnabledChange) -> UserShown:
    """Enable a user, or disable one: every token and certificate of theirs ends."""
    return _shown(
        administration(call).enable_user(
            call.caller, user, enabled=body.enabled, request_id=call.request_id
        )
    )


@operation(rule="tatu:users:delete", publishes=True)
def delete(call: Call, user: Id) -> None:
    """Delete a user: every token and certificate of theirs ends."""
    administration(call).delete_user(call.caller, user, request_id=call.request_id)


@operation(rule="tatu:user_keys:list")
def list_keys(call: Call, user: Id) -> UserKeyList:
    """List the keys that a user signs in with."""
    found = directory(call).keys(user)
    return UserKeyList(items=[_key_shown(key) for key in found], links=Links())


@operation(rule="tatu:user_keys:create", status=201, kept=True)
def add_key(call: Call, user: Id, body: UserKeyRequest) -> UserKeyShown:
    """Let a user sign in with a key."""
    key = PublicKey.parse(body.public_key)
    return _key_shown(
        administration(call).add_key(call.caller, user, key, request_id=call.request_id)
    )


@operation(rule="tatu:user_keys:delete")
def remove_key(call: Call, user: Id, fingerprint: Fingerprint) -> None:
    """Take a sign-in key away; the tokens that it got end."""
    administration(call).remove_key(call.caller, user, fingerprint, request_id=call.request_id)
