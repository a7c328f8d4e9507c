"""Callers that are hosts: their requests are signed by the key that enrolled (security.md S12).

A host is no `Identity`: it has no roles, and only what lies under its own path. What can be judged
before the body is read is; the signature is over the body, too.
"""

from collections.abc import Mapping
from typing import Any

from falcon import Request

from tatu.api import limits
from tatu.api.parts import Parts
from tatu.core.errors import Malformed, Unauthenticated
from tatu.core.hostrequest import Credentials
from tatu.service.hostrequests import HostCaller


def credentials(parts: Parts, req: Request) -> Credentials:
    """Read who says to ask. Raises `Unauthenticated` for what nobody signed just now."""
    try:
        found = Credentials.parse({name.lower(): value for name, value in req.headers.items()})
    except Malformed as error:
        raise Unauthenticated(f"a host signs its requests: {error}") from error
    found.check_time(parts.clock())
    return found


def authenticate(
    parts: Parts, req: Request, found: Credentials, path: Mapping[str, Any], body: bytes
) -> HostCaller:
    """Return the host that signed this request, which is about itself.

    Raises `Unauthenticated`, `TooMany` or `Unavailable`.
    """
    if (found.authority, found.host) != (path["authority"], path["host"]):
        raise Unauthenticated("a host asks under its own path alone")
    target = f"{req.path}?{req.query_string}" if req.query_string else req.path
    rate = parts.settings.rates.requests_host
    return parts.host_requests.authenticate(
        found,
        method=req.method,
        path=target,
        body=body,
        count=lambda: limits.take(parts, "requests-host", rate, found.authority, found.host),
        request_id=req.context.request_id,
    )
