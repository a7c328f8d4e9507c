"""Signatures over messages by SSH keys, with what they are for (PROTOCOL.sshsig)."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from tatu.core import wire
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey, shown

MAX_SIZE = 16 * 2**10
"""Characters of an armored signature; the largest RSA key with its signature takes 6,000."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = ("sha256", "sha512")
_HEADER = "-----BEGIN SSH SIGNATURE-----"
_FOOTER = "-----END SSH SIGNATURE-----"
_LINE = 70  # what ssh-keygen writes; the protocol's 76 is an upper limit
_LONGEST_LINE = 76
_RSA_ALGORITHMS = ("rsa-sha2-512", "rsa-sha2-256")


class Namespace(StrEnum):
    """What a signature is for; made for one purpose, it is refused for every other."""

    LOGIN = "login@tatu"
    SUBJECT = "subject@tatu"
    ENROL = "enrol@tatu"
    HOST = "host@tatu"
    STATEMENT = "statement@tatu"
    SUDO = "sudo@tatu"
    RELEASE = "release@tatu"
    CHECKPOINT = "checkpoint@tatu"


def to_be_signed(namespace: Namespace, message: bytes, hash_algorithm: str = "sha512") -> bytes:
    """Return the bytes that a key signs for a message; raises ValueError for an unknown hash."""
    if hash_algorithm not in _HASHES:
        raise ValueError(f"messages are hashed with {' or '.join(_HASHES)}")
    digest = hashlib.new(hash_algorithm, message).digest()
    return _MAGIC + _strings(namespace, b"", hash_algorithm, digest)


def _strings(*values: bytes | str) -> bytes:
    return b"".join(wire.string(value) for value in values)


@dataclass(frozen=True)
class SshSignature:
    """A signature with the key that made it and what it is for; nothing of it is verified yet.

    `signature` is an SSH signature blob: its algorithm, and what that algorithm defines. Making
    one raises `Malformed` when the algorithm is not the key's, or is SHA-1.
    """

    public_key: PublicKey
    namespace: str
    hash_algorithm: str
    signature: bytes

    def __post_init__(self) -> None:
        """Refuse what no verifier may take."""
        if not self.namespace:
            raise Malformed("the signature has no namespace")
        if self.hash_algorithm not in _HASHES:
            raise Malformed(f"the signature's hash is not {' or '.join(_HASHES)}")
        reader = wire.Reader(self.signature, "the signature")
        algorithm, key = reader.text(), self.public_key.algorithm
        if algorithm not in (_RSA_ALGORITHMS if key == "ssh-rsa" else (key,)):
            raise Malformed(f"a key of type {key} does not sign {shown(algorithm)}")
        reader.string()
        if self.public_key.hardware:  # flags and counter (PROTOCOL.u2f)
            reader.uint8()
            reader.uint32()
        reader.end()

    @property
    def envelope(self) -> bytes:
        """The binary form."""
        head = _MAGIC + wire.uint32(_VERSION)
        blob = self.public_key.blob
        return head + _strings(blob, self.namespace, b"", self.hash_algorithm, self.signature)

    @property
    def armored(self) -> str:
        """The text form, byte for byte what ssh-keygen writes."""
        text = base64.b64encode(self.envelope).decode()
        lines = (text[at : at + _LINE] for at in range(0, len(text), _LINE))
        return "\n".join((_HEADER, *lines, _FOOTER, ""))

    @classmethod
    def parse(cls, armored: str) -> Self:
        """Read the text form, with either kind of line end, or raise `Malformed`."""
        if len(armored) > MAX_SIZE:
            raise Malformed(f"the signature is over {MAX_SIZE} characters")
        lines = armored.replace("\r\n", "\n").removesuffix("\n").split("\n")
        if len(lines) < 3 or lines[0] != _HEADER or lines[-1] != _FOOTER:  # noqa: PLR2004
            raise Malformed("this is no armored SSH signature")
        body = lines[1:-1]
        if not all(0 < len(line) <= _LONGEST_LINE for line in body):
            raise Malformed("a line of the signature is empty or too long")
        text = "".join(body)
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Malformed("the signature is not base64") from error
        # unused bits would let one signature be written in many ways
        if base64.b64encode(data).decode() != text:
            raise Malformed("the signature's base64 is not canonical")
        return cls.from_envelope(data)

    @classmethod
    def from_envelope(cls, data: bytes) -> Self:
        """Read the binary form, or raise `Malformed`."""
        if not data.startswith(_MAGIC):
            raise Malformed("this is no SSH signature")
        reader = wire.Reader(data[len(_MAGIC) :], "the signature")
        if reader.uint32() != _VERSION:
            raise Malformed("the signature has an unknown version")
        public_key = PublicKey.from_blob(reader.string())
        namespace = reader.text()
        # what stands here is not signed: anybody could have put it there
        if reader.string():
            raise Malformed("the signature's reserved field is not empty")
        hash_algorithm = reader.text()
        signature = reader.string()
        reader.end()
        return cls(public_key, namespace, hash_algorithm, signature)

    def signed_bytes(self, namespace: Namespace, message: bytes) -> bytes:
        """Return what a `Verifier` must find signed, if this is a signature for that purpose.

        Raises `Denied` when it was made for another purpose.
        """
        if self.namespace != namespace:
            raise Denied(f"the signature is for {shown(self.namespace)}, not {namespace}")
        return to_be_signed(namespace, message, self.hash_algorithm)
