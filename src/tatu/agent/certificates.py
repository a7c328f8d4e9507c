"""Host certificates that Tatu gave: which a host may show to whoever connects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tatu.agent import signatures
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.keys import HostCertificate
from tatu.agent.state import State


def lines(answer: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts of an answer; raises `Malformed`."""
    value = answer.get(name)
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise Malformed(f"the answer's {name} does not list texts")
    return tuple(value)


def checked(
    state: State, keys: Mapping[str, str], given: tuple[str, ...], now: datetime
) -> dict[str, str]:
    """Return the certificate of each key, by the names of the keys' files.

    Raises `AgentError` for what no client would accept.
    """
    if len(given) != len(keys):
        raise Malformed(f"the answer has {len(given)} certificates for {len(keys)} host keys")
    trusted = state.newest.host_authorities
    found = {}
    for (name, key), line in zip(keys.items(), given):
        certificate = HostCertificate.parse(line)
        for rule, holds in (
            ("is for another key", certificate.subject_key == key),
            ("was not signed by a host authority", certificate.signature_key in trusted),
            ("does not name this host", state.host in certificate.principals),
            ("does not hold now", certificate.valid_after <= now < certificate.valid_before),
        ):
            if not holds:
                raise AgentError(f"the certificate for {name} {rule}")
        signatures.check_certificate(line)
        found[name] = line
    return found
