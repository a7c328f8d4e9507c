"""Public keys and certificates: as much of their wire form as a host has to compare."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from tatu.agent.errors import Malformed

_FIELDS = {
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-ed25519": 1,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
_CERTIFICATES = {
    f"{name.replace('@openssh.com', '')}-cert-v01@openssh.com": name for name in _FIELDS
}
_LINE = re.compile(r"([a-z0-9@.-]{1,64}) ([A-Za-z0-9+/]{1,131072}={0,2})")
_USER = 1
_HOST = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Reader:
    """Reads SSH wire types (RFC 4251, section 5) off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def raw(self, length: int) -> bytes:
        if length > len(self._data):
            raise Malformed("a key or certificate is cut short")
        taken, self._data = self._data[:length], self._data[length:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.raw(size), "big")

    def string(self) -> bytes:
        return self.raw(self.number(4))

    def strings(self) -> tuple[bytes, ...]:
        found = []
        while self._data:
            found.append(self.string())
        return tuple(found)

    def end(self) -> None:
        if self._data:
            raise Malformed("a key or certificate has bytes behind its end")


def _decoded(line: str) -> tuple[str, _Reader]:
    found = _LINE.fullmatch(line)
    if not found:
        raise Malformed("a key or certificate is not one line `type base64`")
    algorithm, text = found.groups()
    try:
        blob = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Malformed("a key or certificate is not base64") from error
    # unused bits would let one key be written in several ways, and compared as several keys
    if base64.b64encode(blob).decode() != text:
        raise Malformed("a key's base64 is not canonical")
    reader = _Reader(blob)
    if reader.string() != algorithm.encode():
        raise Malformed("a key's type does not match its data")
    return algorithm, reader


def public_key(line: str) -> str:
    """Return the line when it is one whole public key without comment; raises `Malformed`.

    Whether the key is a strong one is what ssh-keygen and sshd decide when they use it.
    """
    algorithm, reader = _decoded(line)
    if algorithm not in _FIELDS:
        raise Malformed(f"{algorithm} is no type of public key that is accepted here")
    for _ in range(_FIELDS[algorithm]):
        reader.string()
    reader.end()
    return line


def fingerprint(line: str) -> str:
    """Return `SHA256:...` of a key's line, as OpenSSH writes it."""
    digest = hashlib.sha256(base64.b64decode(line.split(" ")[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; that its signature holds is for OpenSSH to say."""

    line: str
    kind: int
    subject_key: str
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    critical_options: dict[str, str]
    signature_key: str


class HostCertificate(Certificate):
    """A certificate that names a host."""

    @classmethod
    def parse(cls, line: str) -> HostCertificate:
        """Read one that clients would accept; raises `Malformed`."""
        certificate = cls(**_read(line))
        if certificate.kind != _HOST:
            raise Malformed("this is no host certificate")
        if certificate.critical_options:
            raise Malformed("a host certificate has a critical option: no client would accept it")
        return certificate


class UserCertificate(Certificate):
    """A certificate that lets a user log in."""

    @classmethod
    def parse(cls, line: str) -> UserCertificate:
        """Read a user's, whatever options it has; raises `Malformed`."""
        certificate = cls(**_read(line))
        if certificate.kind != _USER:
            raise Malformed("this is no user certificate")
        return certificate


def _read(line: str) -> dict[str, Any]:
    """Return the fields of a line `type base64` (PROTOCOL.certkeys); raises `Malformed`."""
    name, reader = _decoded(line)
    if name not in _CERTIFICATES:
        raise Malformed(f"{name} is no type of certificate")
    algorithm = _CERTIFICATES[name]
    reader.string()  # the nonce
    fields = [reader.string() for _ in range(_FIELDS[algorithm])]
    serial, kind, key_id = reader.number(8), reader.number(4), reader.string()
    principals = _Reader(reader.string()).strings()
    after, before = _time(reader.number(8)), _time(reader.number(8))
    options = _Reader(reader.string()).strings()
    reader.string()  # the extensions
    reader.string()  # reserved
    signature_key = reader.string()
    reader.string()  # the signature
    reader.end()
    return {
        "line": line,
        "kind": kind,
        "subject_key": _line(string(algorithm.encode()) + b"".join(map(string, fields))),
        "serial": serial,
        "key_id": _text(key_id),
        "principals": tuple(_text(principal) for principal in principals),
        "valid_after": after,
        "valid_before": before,
        "critical_options": _options(options),
        "signature_key": _line(signature_key),
    }


def _options(fields: tuple[bytes, ...]) -> dict[str, str]:
    """Return the values by name; each is wrapped as a string, or empty."""
    if len(fields) % 2:
        raise Malformed("a certificate has an option without a value")
    values = (b"".join(_Reader(value).strings()) for value in fields[1::2])
    return dict(zip(map(_text, fields[::2]), map(_text, values)))


def string(data: bytes) -> bytes:
    """Return bytes as SSH writes a string (RFC 4251, section 5)."""
    return len(data).to_bytes(4, "big") + data


def _line(blob: bytes) -> str:
    return f"{_text(_Reader(blob).string())} {base64.b64encode(blob).decode()}"


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a certificate holds text that is not UTF-8") from error


def _time(seconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise Malformed("a certificate has no end") from error
