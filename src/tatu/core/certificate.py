"""OpenSSH certificates, version 01 (draft-miller-ssh-cert, PROTOCOL.certkeys)."""

import base64
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Self

from tatu.core import wire
from tatu.core.errors import Malformed
from tatu.core.keys import FIELDS, PublicKey, decoded, shown

FOREVER = datetime.max.replace(tzinfo=UTC)
"""What a certificate without an end is read as, and nothing else: on the wire 2**64 - 1."""

_FOREVER_SECONDS = 2**64 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUFFIX = "-cert-v01@openssh.com"
_MAX_LINE = 131_072


class CertificateType(enum.IntEnum):
    """The two kinds of certificate; the numbers are the protocol's."""

    USER = 1
    HOST = 2


class Options(Mapping[str, str]):
    """Critical options or extensions: a mapping that still knows what stands on the wire.

    `pairs` are names and undecoded data in their order, repetitions included: the linter needs
    to see them, and a certificate that was read must give back its very bytes.
    """

    def __init__(self, pairs: tuple[tuple[str, bytes], ...]) -> None:
        self.pairs = pairs
        self._values = {name: _option_value(name, data) for name, data in pairs}

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Return the options as they are written: in lexical order of their bytes.

        A value that is not empty is a string inside a string.
        """
        if isinstance(values, cls):
            return values
        ordered = sorted(values.items(), key=lambda item: item[0].encode())
        return cls(tuple((name, wire.string(value) if value else b"") for name, value in ordered))

    @classmethod
    def read(cls, data: bytes, what: str) -> Self:
        """Read the wire form; raises Malformed."""
        reader, pairs = wire.Reader(data, what), []
        while reader.remaining:
            pairs.append((reader.text(), reader.string()))
        return cls(tuple(pairs))

    def encode(self) -> bytes:
        """Return the wire form."""
        return b"".join(wire.string(name) + wire.string(data) for name, data in self.pairs)

    def __getitem__(self, name: str) -> str:
        """Return the value of an option; an option without one has the empty text."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names, each once."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._values)

    def __hash__(self) -> int:
        """Agree with the equality of mappings."""
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Show the values."""
        return repr(self._values)


@dataclass(frozen=True, kw_only=True)
class CertificateToSign:
    """Everything in a certificate but its signature.

    Every field is required: OpenSSH reads an empty list of principals as *any* principal and an
    absent validity as *for ever*, so nothing has a default. Times are aware and in whole seconds.
    Raises ValueError for what has no wire form; whether it is wise is the linter's question.
    """

    subject_key: PublicKey
    type: CertificateType
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: datetime
    valid_before: datetime
    critical_options: Mapping[str, str]
    extensions: Mapping[str, str]
    signature_key: PublicKey
    nonce: bytes

    def __post_init__(self) -> None:
        """Take the options over, so that nobody changes them between the linter and the key."""
        object.__setattr__(self, "critical_options", Options.of(self.critical_options))
        object.__setattr__(self, "extensions", Options.of(self.extensions))
        _ = self.to_be_signed

    @property
    def algorithm(self) -> str:
        """The certificate's own key type."""
        return _certificate_algorithm(self.subject_key.algorithm)

    @cached_property
    def to_be_signed(self) -> bytes:
        """The bytes that the authority signs: encoded once, linted, signed and served."""
        return b"".join(
            (
                wire.string(self.algorithm),
                wire.string(self.nonce),
                self.subject_key.fields,
                wire.uint64(self.serial),
                wire.uint32(self.type),
                wire.string(self.key_id),
                wire.string(b"".join(map(wire.string, self.principals))),
                wire.uint64(_seconds(self.valid_after)),
                wire.uint64(_seconds(self.valid_before)),
                wire.string(Options.of(self.critical_options).encode()),
                wire.string(Options.of(self.extensions).encode()),
                wire.string(b""),
                wire.string(self.signature_key.blob),
            )
        )


@dataclass(frozen=True)
class Certificate:
    """A signed certificate; `signature` is an SSH signature blob (RFC 4253, section 6.6).

    Raises Malformed for a signature without form. Nothing here says that it verifies.
    """

    contents: CertificateToSign
    signature: bytes

    def __post_init__(self) -> None:
        """Refuse a signature that does not even name its algorithm."""
        _ = self.signature_algorithm

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read the line of an `id_*-cert.pub` file; raises Malformed.

        Any certificate is read, however unwise, so that the linter can say what is wrong with it.
        """
        algorithm, blob = decoded(line, "the certificate", _MAX_LINE)
        if algorithm not in _KEY_ALGORITHMS:
            raise Malformed(f"{shown(algorithm)} is no type of certificate")
        certificate = cls.from_blob(blob)
        if certificate.contents.algorithm != algorithm:
            raise Malformed("the certificate's type does not match its data")
        return certificate

    @classmethod
    def from_blob(cls, blob: bytes) -> Self:
        """Read a certificate's wire form, as `parse` does; `blob` gives back the very bytes."""
        reader = wire.Reader(blob, "the certificate")
        name = reader.text()
        if name not in _KEY_ALGORITHMS:
            raise Malformed(f"{shown(name)} is no type of certificate")
        algorithm = _KEY_ALGORITHMS[name]
        nonce = reader.string()
        fields = b"".join(wire.string(reader.string()) for _ in range(FIELDS[algorithm]))
        contents = CertificateToSign(
            subject_key=PublicKey(algorithm, wire.string(algorithm) + fields),
            serial=reader.uint64(),
            type=_type(reader.uint32()),
            key_id=reader.text(),
            principals=_principals(reader.string()),
            valid_after=_moment(reader.uint64()),
            valid_before=_moment(reader.uint64()),
            critical_options=Options.read(reader.string(), "the list of critical options"),
            extensions=Options.read(reader.string(), "the list of extensions"),
            signature_key=_signature_key(reader),
            nonce=nonce,
        )
        certificate = cls(contents, reader.string())
        reader.end()
        return certificate

    @property
    def blob(self) -> bytes:
        """The certificate's wire form: what was signed, and the signature behind it."""
        return self.contents.to_be_signed + wire.string(self.signature)

    @property
    def line(self) -> str:
        """The certificate as one line of text, without a comment."""
        return f"{self.contents.algorithm} {base64.b64encode(self.blob).decode()}"

    @property
    def signature_algorithm(self) -> str:
        """The algorithm that the signature names; for RSA it says which hash was used."""
        return wire.Reader(self.signature, "the signature").text()

    def __str__(self) -> str:
        """Return the certificate as one line of text."""
        return self.line


def signed(contents: CertificateToSign, signature: bytes) -> Certificate:
    """Return the certificate that a signature over `contents.to_be_signed` makes."""
    return Certificate(contents, signature)


def _certificate_algorithm(key_algorithm: str) -> str:
    return key_algorithm.removesuffix("@openssh.com") + _SUFFIX


_KEY_ALGORITHMS = {_certificate_algorithm(name): name for name in FIELDS}


def _option_value(name: str, data: bytes) -> str:
    if not data:
        return ""
    reader = wire.Reader(data, f"the value of {shown(name)}")
    value = reader.text()
    reader.end()
    return value


def _seconds(moment: datetime) -> int:
    if moment == FOREVER:
        return _FOREVER_SECONDS
    if moment.utcoffset() is None or moment.microsecond:
        raise ValueError("a certificate's times are aware and in whole seconds")
    return (moment - _EPOCH) // timedelta(seconds=1)


def _moment(seconds: int) -> datetime:
    if seconds == _FOREVER_SECONDS:
        return FOREVER
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError as error:
        raise Malformed("the certificate names a time after the year 9999") from error


def _type(number: int) -> CertificateType:
    try:
        return CertificateType(number)
    except ValueError as error:
        raise Malformed(f"{number} is neither a user nor a host certificate") from error


def _principals(data: bytes) -> tuple[str, ...]:
    reader, principals = wire.Reader(data, "the list of principals"), []
    while reader.remaining:
        principals.append(reader.text())
    return tuple(principals)


def _signature_key(reader: wire.Reader) -> PublicKey:
    if reader.string():
        raise Malformed("the certificate's reserved field is not empty")
    blob = reader.string()
    return PublicKey(wire.Reader(blob, "the signature key").text(), blob)
