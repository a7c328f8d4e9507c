"""Rate limits: by who and what first, by where last (security.md S10)."""

import hashlib
import ipaddress
import json

from falcon import Request

from tatu import ports
from tatu.api.parts import Parts, Rate
from tatu.core.errors import Unauthenticated
from tatu.core.identity import Identity
from tatu.core.policy import Network

_V6_NETWORK = 64


def take(parts: Parts, what: str, rate: Rate, *who: str) -> None:
    """Count one against a limit; raises `TooMany`."""
    parts.ledger.limits.take(
        _key(what, *who), limit=rate.count, window=rate.window, now=parts.clock()
    )


def _key(what: str, *who: str) -> str:
    """Return a digest: what a stranger sends may be long, and a secret typed in a wrong field."""
    return f"{what}:{hashlib.sha256(json.dumps(who).encode()).hexdigest()[:32]}"


def authenticate(
    parts: Parts, request: Request, facts: ports.Request, *, cached: bool
) -> Identity:
    """Return who asks. A flood of made-up tokens from one address is not let through to a cloud.

    Raises `TooMany` besides what the driver raises: for strangers alone, whose address has sent
    too many tokens that were refused.
    """
    rate = parts.settings.rates.denied_address
    asked = False

    def strange() -> None:
        nonlocal asked
        key = _key("denied_address", address(request, parts.settings.trusted_proxies))
        parts.ledger.limits.check(key, window=rate.window, now=parts.clock())
        asked = True

    try:
        return parts.identities.authenticate(facts, cached=cached, strange=strange)
    except Unauthenticated:
        if asked:
            take_address(parts, request, "denied_address")
        raise


def take_address(parts: Parts, request: Request, name: str) -> None:
    """Count one against the address that a request comes from, at the rate of that name."""
    where = address(request, parts.settings.trusted_proxies)
    take(parts, name, getattr(parts.settings.rates, name), where)


def address(request: Request, trusted: tuple[Network, ...]) -> str:
    """Return where a request comes from; IPv6 by its /64, for one machine has all of it.

    Of `X-Forwarded-For` an entry counts when a trusted proxy wrote it: anything to the left of
    the first hop that is none may have been made up.
    """
    found = request.remote_addr
    hops = request.get_header("X-Forwarded-For", default="").split(",")
    while hops and _is_within(found, trusted):
        hop = hops.pop().strip()
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            break
        found = hop
    return _network(found)


def _is_within(text: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(found in network for network in networks)


def _network(text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _V6_NETWORK), strict=False))
    return str(found)
