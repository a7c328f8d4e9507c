"""Requests that an enrolled host signs with its host key (security.md S12).

Nothing secret is kept on a host for this: whoever holds the key that enrolled is the host. The
signature covers all that is asked, so that it is good for one request, within minutes, once.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from tatu.core import canonical
from tatu.core.errors import Malformed, Unauthenticated
from tatu.core.sshsig import MAX_SIZE, SshSignature

HOST, TIME, NONCE, SIGNATURE = "tatu-host", "tatu-time", "tatu-nonce", "tatu-signature"
"""The headers, in lower case."""

WINDOW = timedelta(minutes=5)
"""How far the clocks of host and API may be apart."""

_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})/([a-z0-9][a-z0-9-]{0,62})")
_NONCE = re.compile(r"[0-9a-f]{32}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def message(
    *,
    deployment: str,
    authority: str,
    host: str,
    method: str,
    path: str,
    body_digest: str,
    time: datetime,
    nonce: str,
) -> bytes:
    """Return what the host key signs (namespace `host@tatu`).

    `path` begins behind the API's URL, with the query if there is one; `body_digest` is the
    SHA-256 of the body, in hex.
    """
    facts = {
        "authority": authority,
        "body": body_digest,
        "deployment": deployment,
        "host": host,
        "method": method,
        "nonce": nonce,
        "path": path,
        "time": time.strftime(_TIME),
    }
    return canonical.data(facts)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the headers of a host's request say; nothing of it is verified yet."""

    authority: str
    host: str
    time: datetime
    nonce: str
    signature: SshSignature

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> Self:
        """Read the headers, names in lower case. Raises `Malformed`."""
        named = _HOST.fullmatch(headers.get(HOST, ""))
        nonce = headers.get(NONCE, "")
        if not named:
            raise Malformed("Tatu-Host is `authority/host`")
        if not _NONCE.fullmatch(nonce):
            raise Malformed("Tatu-Nonce is 16 bytes in lower-case hex")
        return cls(
            authority=named.group(1),
            host=named.group(2),
            time=_time(headers.get(TIME, "")),
            nonce=nonce,
            signature=_signature(headers.get(SIGNATURE, "")),
        )

    def check_time(self, now: datetime) -> None:
        """Raise `Unauthenticated` unless the request was made within minutes of now."""
        if abs(now - self.time) > WINDOW:
            raise Unauthenticated(
                f"the request's time is over {WINDOW // timedelta(minutes=1)} minutes from"
                f" {now.strftime(_TIME)}: one of the clocks is wrong"
            )


def _time(text: str) -> datetime:
    try:
        found = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise Malformed("Tatu-Time is no RFC 3339 time in UTC, to the second") from error
    if found.strftime(_TIME) != text:  # strptime takes 2026-1-1 as well
        raise Malformed("Tatu-Time is no RFC 3339 time in UTC, to the second")
    return found


def _signature(text: str) -> SshSignature:
    if len(text) > MAX_SIZE:
        raise Malformed(f"Tatu-Signature is over {MAX_SIZE} characters")
    try:
        envelope = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("Tatu-Signature is not base64") from error
    return SshSignature.from_envelope(envelope)
