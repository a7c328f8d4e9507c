"""Lists in parts: where the next part begins, as a URL that says all that was asked."""

from urllib.parse import urlencode

from tatu.api.operation import Call
from tatu.api.schemas import Links


def links(call: Call, marker: str | None, name: str = "marker") -> Links:
    """Return the link to the next part; there is none after the last."""
    if marker is None:
        return Links()
    asked = {**call.request.params, name: marker}
    return Links(next=f"{call.parts.settings.api_endpoint}{call.request.path}?{urlencode(asked)}")


def scope(call: Call, authority: str | None) -> tuple[str, ...] | None:
    """Return the authorities that a list is confined to: the caller's, or the one asked for.

    Raises `NotFound` when that is out of the caller's scope.
    """
    if authority is None:
        return call.scope
    call.parts.access.within(call.caller, authority)
    return (authority,)
