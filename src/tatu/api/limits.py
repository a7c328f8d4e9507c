"""Rate limits: by who and what first, by where last (security.md S10)."""

import hashlib
import ipaddress
import json

from falcon import Request

from tatu.api.parts import Parts, Rate
from tatu.core.policy import Network

_V6_NETWORK = 64


def take(parts: Parts, what: str, rate: Rate, *who: str) -> None:
    """Count one against a limit; raises `TooMany`.

    The key in the ledger is a digest: what a stranger sends may be long, and may be a secret typed
    into the wrong field.
    """
    digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:32]
    parts.ledger.limits.take(
        f"{what}:{digest}", limit=rate.count, window=rate.window, now=parts.clock()
    )


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
