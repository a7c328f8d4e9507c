"""The enrolment token, and what it proves in both directions (security.md S11).

The same forms as `tatu.core.enrolment`; `tests/vectors/enrolment` holds both.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tatu.agent.errors import AgentError, Malformed

MAX_SIZE = 4096

_PREFIX = "tatu-enrol-1."
_FIELDS = ("url", "authority", "host", "secret", "trust")


@dataclass(frozen=True)
class EnrolmentToken:
    """What a person carries to a host: where to enrol, as whom, by which secret, trusting whom."""

    url: str
    authority: str
    host: str
    secret: bytes
    trust: str

    def __repr__(self) -> str:
        """Show no secret: a repr ends in logs."""
        return f"EnrolmentToken(authority={self.authority!r}, host={self.host!r})"

    @classmethod
    def parse(cls, text: str) -> EnrolmentToken:
        """Read a token; raises `Malformed`, never with the token in the text."""
        if len(text) > MAX_SIZE or not text.startswith(_PREFIX):
            raise Malformed(f"an enrolment token begins with {_PREFIX!r}")
        encoded = text[len(_PREFIX) :]
        try:
            padded = encoded + "=" * (-len(encoded) % 4)
            facts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if type(facts) is not dict or not all(type(facts.get(f)) is str for f in _FIELDS):
                raise Malformed("the enrolment token is damaged")
            secret = base64.b64decode(facts["secret"], validate=True)
        except (ValueError, RecursionError):
            raise Malformed("the enrolment token is damaged") from None
        return cls(
            url=facts["url"],
            authority=facts["authority"],
            host=facts["host"],
            secret=secret,
            trust=facts["trust"],
        )

    def request_mac(self, message: bytes) -> str:
        """Return the host's MAC over its request, in hex."""
        return hmac.new(self.secret, b"request\0" + message, hashlib.sha256).hexdigest()

    def check_answer(self, nonce: str, answer: bytes, mac: str) -> None:
        """Raise `AgentError` unless who knows the secret gave this answer to this nonce."""
        text = b"answer\0" + nonce.encode() + b"\0" + answer
        made = hmac.new(self.secret, text, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(made.encode(), mac.encode()):
            raise AgentError("the answer does not come from who made the token")


def trust_digest(statement_keys: Iterable[str]) -> str:
    """Return `sha256:<hex>` over statement keys (sorted lines, a newline after each)."""
    lines = "".join(f"{line}\n" for line in sorted(statement_keys))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def message(
    *, deployment: str, authority: str, host: str, nonce: str, host_keys: Sequence[str]
) -> bytes:
    """Return what the MAC covers and every host key signs (namespace `enrol@tatu`)."""
    facts: dict[str, Any] = {
        "authority": authority,
        "deployment": deployment,
        "host": host,
        "host_keys": list(host_keys),
        "nonce": nonce,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
