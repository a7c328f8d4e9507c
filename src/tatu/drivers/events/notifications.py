"""What OpenStack's notifications say, read as notices.

Written against what Keystone (basic and CADF), Nova (versioned) and Neutron of release 2026.2 were
seen to send. They tell less than one would like: of a user that was disabled only the id, of a
group's changed member nothing at all in CADF.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from tatu.core.errors import Malformed
from tatu.core.identity import APPLICATION_CREDENTIAL, MAX_ID, TRUST
from tatu.core.notices import Notice, NoticeKind

Payload = Mapping[str, Any]


def read(event_type: object, payload: object, message_id: object) -> tuple[Notice, ...]:
    """Return what a notification means, nothing when it does not concern us.

    Raises `Malformed` when it should mean something and cannot be read.
    """
    if not isinstance(event_type, str):
        raise Malformed("a notification names no event type")
    reader = _READERS.get(event_type)
    if reader is None:
        return ()
    message = _text({"message_id": message_id}, "message_id")
    return tuple(reader(_mapping(payload), message))


def _changed(kind: NoticeKind) -> Callable[[Payload, str], Iterator[Notice]]:
    """Read what happened to a resource: both formats of Keystone have its id in one place."""

    def reader(payload: Payload, message: str) -> Iterator[Notice]:
        yield Notice(kind=kind, id=_text(payload, "resource_info"), message=message)

    return reader


def _origin(prefix: str) -> Callable[[Payload, str], Iterator[Notice]]:
    def reader(payload: Payload, message: str) -> Iterator[Notice]:
        origin = f"{prefix}{_text(payload, 'resource_info')}"
        yield Notice(kind=NoticeKind.ORIGIN_DELETED, id=origin, message=message)

    return reader


def _group(payload: Payload, message: str) -> Iterator[Notice]:
    """Read a changed group: who left it is told in the basic format alone."""
    group, operation = _text(payload, "resource_info"), payload.get("actor_operation")
    if operation == "added":
        return
    if operation is None:
        if "typeURI" in payload:  # CADF: whether anybody left it, and who, is not told
            yield Notice(kind=NoticeKind.GROUP_CHANGED, id=group, message=message)
        return  # it was renamed
    user = _text(payload, "actor_id")
    yield Notice(kind=NoticeKind.GROUP_CHANGED, id=group, user=user, message=message)


def _assignment(payload: Payload, message: str) -> Iterator[Notice]:
    """Read a removed assignment, which is CADF in either format."""
    if payload.get("outcome") == "failure":  # it was only tried
        return
    inherited = payload.get("inherited_to_projects")
    if not isinstance(inherited, bool):
        raise Malformed("an assignment does not say whether it was inherited")
    yield Notice(
        kind=NoticeKind.ASSIGNMENT_REMOVED,
        id=_text(payload, "role"),
        message=message,
        inherited=inherited,
        **_either(payload, "user", "group"),
        **_either(payload, "project", "domain"),
    )


def _instance(kind: NoticeKind) -> Callable[[Payload, str], Iterator[Notice]]:
    def reader(payload: Payload, message: str) -> Iterator[Notice]:
        data = _mapping(payload.get("nova_object.data"))
        project = _text(data, "tenant_id")
        yield Notice(kind=kind, id=_text(data, "uuid"), project=project, message=message)

    return reader


def _renamed(payload: Payload, message: str) -> Iterator[Notice]:
    """Read a changed instance, of which only the hostname counts: what it was is not told.

    Whoever displays it by another name changes nothing, and nor do the states it goes through.
    """
    data = _mapping(payload.get("nova_object.data"))
    states = _mapping(_mapping(data.get("state_update")).get("nova_object.data"))
    unchanged = ("old_state", "state"), ("old_task_state", "new_task_state")
    if data.get("host_name") and all(states.get(old) == states.get(new) for old, new in unchanged):
        for notice in _instance(NoticeKind.INSTANCE_CHANGED)(payload, message):
            yield replace(notice, name=_text(data, "host_name"))


def _floating_ip(payload: Payload, message: str) -> Iterator[Notice]:
    """Read a floating address that came, moved or went: who had it before is not told."""
    floating = _mapping(payload.get("floatingip"))
    yield _address(_text(floating, "floating_ip_address"), message)
    if floating.get("port_details") is not None:
        yield from _device(_mapping(floating["port_details"]), floating, message)


def _port(payload: Payload, message: str) -> Iterator[Notice]:
    """Read a changed port: of one that was taken from its instance only the addresses tell."""
    port = _mapping(payload.get("port"))
    addresses = port.get("fixed_ips")
    if not isinstance(addresses, list):
        raise Malformed("a port does not say what addresses it has")
    if _of_instance(port):
        yield from _device(port, port, message)
    elif not port.get("device_owner") or _of_compute(port):
        for fixed in addresses:
            address = _text(_mapping(fixed), "ip_address")
            yield _address(address, message, project=_text(port, "project_id"))


def _address(address: str, message: str, *, project: str = "") -> Notice:
    return Notice(kind=NoticeKind.ADDRESS_CHANGED, id=address, project=project, message=message)


def _device(port: Payload, owner: Payload, message: str) -> Iterator[Notice]:
    if _of_instance(port):
        yield Notice(
            kind=NoticeKind.INSTANCE_CHANGED,
            id=_text(port, "device_id"),
            project=_text(owner, "project_id"),
            message=message,
        )


def _of_instance(port: Payload) -> bool:
    """Whether a port is an instance's, not a router's or a DHCP agent's.

    Users write both fields as they like: what cannot be an instance's id is none, and no message
    to be kept.
    """
    return _of_compute(port) and _is_id(port.get("device_id"))


def _of_compute(port: Payload) -> bool:
    return str(port.get("device_owner") or "").startswith("compute:")


def _either(payload: Payload, *keys: str) -> dict[str, Any]:
    found = [key for key in keys if payload.get(key) is not None]
    if len(found) != 1:
        raise Malformed(f"an assignment names not one of {' and '.join(keys)}")
    return {found[0]: _text(payload, found[0])}


def _mapping(value: object) -> Payload:
    if not isinstance(value, dict):
        raise Malformed("a notification holds something else where an object should be")
    return value


def _text(payload: Payload, key: str) -> str:
    """Return an id: whatever names something, never rewritten."""
    value = payload.get(key)
    if not _is_id(value):
        raise Malformed(f"a notification holds no id as {key}")
    return value


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()


_KEYSTONE = {
    "project.created": NoticeKind.PROJECT_CREATED,
    "project.updated": NoticeKind.PROJECT_CHANGED,
    "project.disabled": NoticeKind.PROJECT_CHANGED,
    "project.deleted": NoticeKind.PROJECT_DELETED,
    "user.updated": NoticeKind.USER_CHANGED,
    "user.disabled": NoticeKind.USER_CHANGED,
    "user.deleted": NoticeKind.USER_DELETED,
    "group.deleted": NoticeKind.GROUP_DELETED,
    "role.updated": NoticeKind.ROLE_CHANGED,
    "role.deleted": NoticeKind.ROLE_DELETED,
    "domain.updated": NoticeKind.DOMAIN_CHANGED,
    "domain.disabled": NoticeKind.DOMAIN_CHANGED,
    "domain.deleted": NoticeKind.DOMAIN_DELETED,
}

_NOVA = {
    "delete.end": NoticeKind.INSTANCE_DELETED,
    "interface_attach.end": NoticeKind.INSTANCE_CHANGED,
    "interface_detach.end": NoticeKind.INSTANCE_CHANGED,
    # Once more at its end: it may have begun to boot before the inventory knew of it.
    "rebuild.start": NoticeKind.INSTANCE_REBUILT,
    "rebuild.end": NoticeKind.INSTANCE_REBUILT,
}

_READERS: Mapping[str, Callable[[Payload, str], Iterator[Notice]]] = {
    **{f"identity.{name}": _changed(kind) for name, kind in _KEYSTONE.items()},
    "identity.group.updated": _group,
    "identity.role_assignment.deleted": _assignment,
    "identity.application_credential.deleted": _origin(APPLICATION_CREDENTIAL),
    "identity.OS-TRUST:trust.deleted": _origin(TRUST),
    **{f"instance.{name}": _instance(kind) for name, kind in _NOVA.items()},
    "instance.update": _renamed,
    "floatingip.create.end": _floating_ip,
    "floatingip.update.end": _floating_ip,
    "floatingip.delete.end": _floating_ip,
    "port.update.end": _port,
    "port.delete.end": _port,
}
