"""The documents by which clients find a version: any of the two, at the same root."""

from typing import Any

from tatu.api.operation import Call, operation
from tatu.core.errors import NotFound


@operation(public=True)
def versions(call: Call) -> dict[str, Any]:
    """List the versions, in the form that the original's clients and keystoneauth both read."""
    return {"versions": {"values": [_entry(call, "v1"), _entry(call, "v2")]}}


@operation(public=True)
def version(call: Call) -> dict[str, Any]:
    """Tell of this version."""
    return {"version": _entry(call, "v1")}


@operation(public=True)
def absent(call: Call) -> None:
    """Answer what the original let anyone do, and this door never does."""
    raise NotFound("there is nothing at this path")


def _entry(call: Call, name: str) -> dict[str, Any]:
    href = f"{call.parts.settings.api_endpoint}/{name}"
    return {"id": name, "status": "CURRENT", "links": [{"href": href, "rel": "self"}]}
