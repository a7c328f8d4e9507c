"""From what the ledger knows to the original's objects: exactly its names, and no other.

No name of the answer to a host may end in `cert` but that of the certificate, nor one of a
revocation list in `revoked_keys_data`: the scripts look for just these endings.
"""

import base64
import hashlib
import ipaddress
from datetime import UTC, datetime
from typing import Any

from tatu.api.operation import Call
from tatu.api.v1.ids import undashed
from tatu.core.authority import Authority, Purpose
from tatu.core.certificate import Certificate
from tatu.core.errors import Conflict
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.ports import LedgerCertificate

_COMMENT = 2  # its place among the words of a key's line


def authority(found: Authority) -> dict[str, Any]:
    """Show an authority by the keys that sign now."""
    return {
        "auth_id": undashed(found.id),
        "name": found.name,
        "user_pub_key": signature_key(found, Purpose.USER),
        "host_pub_key": signature_key(found, Purpose.HOST),
    }


def signature_key(found: Authority, purpose: Purpose) -> str:
    """Return the line of the key that signs for a purpose; none while none does."""
    try:
        return found.active(purpose).public_key.line
    except Conflict:
        return ""


def user_certificate(found: LedgerCertificate, comment: str = "") -> dict[str, Any]:
    """Show a user certificate; only who just brought the key had a comment on it."""
    return {
        "user_id": undashed(found.subject),
        "user_name": found.user_name,
        "principals": ",".join(found.principals),
        "fingerprint": fingerprint_of(found),
        "auth_id": undashed(found.authority),
        "cert": _commented(found.line, comment),
        "revoked": found.revoked_at is not None,
        "serial": found.serial,
        "created_at": _when(found.issued_at),
        "expires_at": _when(found.valid_before),
    }


def host_certificate(found: LedgerCertificate, comment: str = "") -> dict[str, Any]:
    """Show a host certificate."""
    return {
        "host_id": undashed(found.host),
        "fingerprint": fingerprint_of(found),
        "auth_id": undashed(found.authority),
        "cert": _commented(found.line, comment),
        "hostname": _hostname(found),
        "created_at": _when(found.issued_at),
        "expires_at": _when(found.valid_before),
    }


def host(found: Host) -> dict[str, Any]:
    """Show a host; no way in but its own address is known here."""
    return {
        "id": undashed(found.id),
        "name": found.names[0] if found.names else found.id,
        "pat_bastions": "",
        "srv_url": "",
    }


def krl(authority: str, krl_bytes: bytes) -> dict[str, Any]:
    """Show a revocation list, in base64 on one line."""
    return {
        "auth_id": undashed(authority),
        "encoding": "base64",
        "revoked_keys_data": base64.b64encode(krl_bytes).decode(),
    }


def fingerprint(key: PublicKey) -> str:
    """Return the MD5 fingerprint that the original names keys by; nothing is decided by it."""
    return "MD5:" + hashlib.md5(key.blob, usedforsecurity=False).digest().hex(":")


def fingerprint_of(found: LedgerCertificate) -> str:
    """Return the MD5 fingerprint of a certificate's subject key."""
    return fingerprint(Certificate.parse(found.line).contents.subject_key)


def comment(key_line: str) -> str:
    """Return what stands behind a public key in its line."""
    words = key_line.split(None, _COMMENT)
    return words[_COMMENT].strip() if len(words) > _COMMENT else ""


def link(call: Call, *path: object) -> None:
    """Say where what was made can be read."""
    where = "/".join(map(str, path))
    call.response.set_header("Location", f"{call.parts.settings.api_endpoint}/v1/{where}")


def _commented(line: str, text: str) -> str:
    return f"{line} {text}" if text else line


def _hostname(found: LedgerCertificate) -> str:
    """Return the name that stands behind the id among the principals, before addresses."""
    second = found.principals[1] if len(found.principals) > 1 else found.host
    try:
        ipaddress.ip_address(second)
    except ValueError:
        return second
    return found.host


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
