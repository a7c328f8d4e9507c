"""Enrolment: how a host proves once that it is the machine that was admitted (security.md S11).

The secret never travels: the host sends a MAC by it over its public keys, and each key signs the
same message in namespace `enrol@tatu`; the answer comes back under a MAC by the same secret.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tatu.core import canonical
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey

PREFIX = "tatu-enrol-1."
MAX_TOKEN = 4096
MAX_HOST_KEYS = 8

_SECRET_SIZE = 32


def secret(server_key: bytes, *, authority: str, host: str, epoch: int) -> bytes:
    """Return the 32-byte enrolment secret of a host's epoch: derived each time, never stored."""
    message = json.dumps(["enrolment", authority, host, epoch]).encode()
    return hmac.digest(server_key, message, hashlib.sha256)


def legacy_token(server_key: bytes, *, authority: str, host: str, epoch: int) -> str:
    """Return the token of the original's wire, 32 hex digits: it is sent, and tells of no secret.

    Derived as `secret` is, under a label of its own.
    """
    message = json.dumps(["legacy-enrolment", authority, host, epoch]).encode()
    return hmac.digest(server_key, message, hashlib.sha256)[:16].hex()


def trust_digest(statement_keys: Sequence[PublicKey]) -> str:
    """Return `sha256:<hex>` over an authority's statement keys (lines, sorted and ended by LF)."""
    lines = "".join(f"{line}\n" for line in sorted(key.line for key in statement_keys))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EnrolmentToken:
    """What a person carries to a host.

    Where to enrol, as whom, by which secret, trusting which keys.
    """

    url: str
    authority: str
    host: str
    secret: bytes
    trust: str

    def __str__(self) -> str:
        """Write the token as one word."""
        facts = {
            "url": self.url,
            "authority": self.authority,
            "host": self.host,
            "secret": base64.b64encode(self.secret).decode(),
            "trust": self.trust,
        }
        body = canonical.data(facts)
        return PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("=")

    def __repr__(self) -> str:
        """Show no secret: a repr ends in logs."""
        return f"EnrolmentToken(authority={self.authority!r}, host={self.host!r})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a token; raises `Malformed`, never with the token in the text."""
        if len(text) > MAX_TOKEN or not text.startswith(PREFIX):
            raise Malformed(f"an enrolment token begins with {PREFIX!r}")
        encoded = text.removeprefix(PREFIX)
        try:
            body = base64.b64decode(
                encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True
            )
            facts = json.loads(body)
            match facts:
                case {
                    "url": str(),
                    "authority": str(),
                    "host": str(),
                    "secret": str(),
                    "trust": str(),
                }:
                    token_secret = base64.b64decode(facts["secret"], validate=True)
                case _:
                    raise Malformed("the enrolment token is damaged")
        except (ValueError, RecursionError, binascii.Error):
            raise Malformed("the enrolment token is damaged") from None
        token = cls(
            url=facts["url"],
            authority=facts["authority"],
            host=facts["host"],
            secret=token_secret,
            trust=facts["trust"],
        )
        # only what `__str__` writes: no field twice, none unknown, no bits to spare
        if len(token_secret) != _SECRET_SIZE or str(token) != text:
            raise Malformed("the enrolment token is damaged")
        return token


def message(
    *, deployment: str, authority: str, host: str, nonce: str, host_keys: Sequence[PublicKey]
) -> bytes:
    """Return what the MAC covers and every host key signs (namespace `enrol@tatu`)."""
    facts = {
        "authority": authority,
        "deployment": deployment,
        "host": host,
        "host_keys": [key.line for key in host_keys],
        "nonce": nonce,
    }
    return canonical.data(facts)


def request_mac(token_secret: bytes, request_message: bytes) -> str:
    """Return the host's MAC over the message, in hex."""
    return hmac.new(token_secret, b"request\0" + request_message, hashlib.sha256).hexdigest()


def check_request_mac(token_secret: bytes, request_message: bytes, mac: str) -> None:
    """Raise `Denied` unless the MAC was made with the secret over this very message."""
    expected = request_mac(token_secret, request_message).encode()
    # whatever text was sent: a lone surrogate is a wrong MAC, not an error
    if not hmac.compare_digest(expected, mac.encode("utf-8", "surrogatepass")):
        raise Denied("the enrolment token does not prove this request")


def answer_mac(token_secret: bytes, nonce: str, body: bytes) -> str:
    """Return Tatu's MAC over its answer to a nonce, in hex."""
    return hmac.new(
        token_secret, b"answer\0" + nonce.encode() + b"\0" + body, hashlib.sha256
    ).hexdigest()
