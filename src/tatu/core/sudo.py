"""What a host asks of a forwarded agent before somebody becomes root (security.md S14, S15)."""

import base64
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Self

from tatu.core import canonical
from tatu.core.accounts import ACCOUNT
from tatu.core.certificate import Certificate
from tatu.core.errors import Malformed
from tatu.core.host import HOST_ID

EXTENSION = "sudo-challenge@tatu"
"""The agent extension that shows a challenge: a request to sign has its hash alone."""

MAX_SIZE = 1024

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_NONCE = re.compile(r"[0-9a-f]{64}")
_SESSION = re.compile(r"[0-9]{1,10}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_FORMS = {
    "account": ACCOUNT,
    "certificate": _FINGERPRINT,
    "host": HOST_ID,
    "nonce": _NONCE,
    "session": _SESSION,
    "time": _TIME,
}


@dataclass(frozen=True, kw_only=True)
class SudoChallenge:
    """What a certificate's key must sign in namespace `sudo@tatu`: once, for one question of sudo.

    `session` is the audit session that asks, `certificate` the fingerprint of the one that opened
    it: for another host, or by another certificate, the signature says nothing.
    """

    account: str
    certificate: str
    host: str
    nonce: str
    session: str
    time: str

    @property
    def message(self) -> bytes:
        """The bytes to be signed: the challenge as canonical JSON."""
        return canonical.data(asdict(self))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a message; raises `Malformed` for anything but the one form of a challenge."""
        if len(data) > MAX_SIZE:
            raise Malformed(f"a sudo challenge has at most {MAX_SIZE} bytes")
        try:
            facts = json.loads(data.decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise Malformed("the sudo challenge is no JSON") from error
        if not isinstance(facts, dict) or set(facts) != set(_FORMS):
            raise Malformed("the sudo challenge has other fields")
        for name, form in _FORMS.items():
            if not isinstance(facts[name], str) or not form.fullmatch(facts[name]):
                raise Malformed(f"the sudo challenge's {name} has not its form")
        challenge = cls(**facts)
        if challenge.message != data:
            raise Malformed("the sudo challenge is not in its canonical form")
        return challenge


def fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 fingerprint of a whole certificate: of its CA, serial and subject key."""
    digest = hashlib.sha256(certificate.blob).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
