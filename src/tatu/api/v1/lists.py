"""Lists: in the original they are whole; here in parts, which its client knows to go through."""

from collections.abc import Callable
from typing import Any, TypeVar

from tatu.api import paging
from tatu.api.operation import Call, operation
from tatu.ports import Page
from tatu.service.paging import PAGE

T = TypeVar("T")


def page(
    call: Call, name: str, part: Callable[..., Page[T]], show: Callable[[T], dict[str, Any]]
) -> dict[str, Any]:
    """Return a part of a list, and where the next one is if there is more."""
    marker = call.request.params.get("marker") or None
    found = part(limit=PAGE, marker=marker if isinstance(marker, str) else None)
    shown: dict[str, Any] = {name: [show(one) for one in found.items]}
    if found.marker is not None:
        shown["links"] = {"next": paging.links(call, found.marker).next}
    return shown


@operation()
def pats(call: Call) -> dict[str, Any]:
    """List the gateways: there are none."""
    return {"pats": []}
