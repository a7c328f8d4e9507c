"""Public keys, as OpenSSH writes them (RFC 4253, 5656, 8709; PROTOCOL.u2f)."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

from tatu.core import wire
from tatu.core.errors import Malformed

# How many wire strings follow the algorithm's name in the blob. ssh-dss is here so that a
# certificate which holds such a key can be read and complained of; `check` refuses it.
FIELDS = {
    "ssh-rsa": 2,
    "ssh-dss": 4,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-ed25519": 1,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_LINE = 16_384  # an RSA key of 16,384 bits needs 2,800 characters; the rest is comment
_RSA_BITS = range(2048, 16_384 + 1)
_MAX_EXPONENT = 2**64  # larger ones only slow down whoever verifies


class _Curve(NamedTuple):
    """y² = x³ - 3x + b over the prime field of p (SP 800-186)."""

    bits: int
    p: int
    b: int


_CURVES = {
    "nistp256": _Curve(
        256,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": _Curve(
        384,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875A_C656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "nistp521": _Curve(
        521,
        2**521 - 1,
        0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109_E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}

_ED25519_P = 2**255 - 19
# The y of the eight points whose multiples are only themselves (RFC 7748, section 7): under such
# a "key" anyone can make signatures that verify.
_ORDER_EIGHT = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_ED25519_SMALL_ORDER = frozenset({0, 1, _ED25519_P - 1, _ORDER_EIGHT, _ED25519_P - _ORDER_EIGHT})


@dataclass(frozen=True)
class PublicKey:
    """A public key: the name of its algorithm, and its whole wire blob.

    `parse` and `from_blob` give only keys that have passed `check`; one built by hand, or found
    inside a certificate, has not.
    """

    algorithm: str
    blob: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line `type base64 [comment]`; the comment is dropped.

        Raises Malformed, with the reason, for anything else, and for keys that `check` refuses.
        """
        if ("-----BEGIN" in line and "PRIVATE KEY" in line) or line.startswith(
            "PuTTY-User-Key-File"
        ):
            raise Malformed("this is a private key: give the public one, and make a new pair")
        algorithm, blob = decoded(line, "the public key", _MAX_LINE)
        key = cls.from_blob(blob)
        if key.algorithm != algorithm:
            raise Malformed(f"the line says {algorithm}, its data {key.algorithm}")
        return key

    @classmethod
    def from_blob(cls, blob: bytes) -> Self:
        """Read a key's wire form; raises Malformed, with the reason, as `check` does."""
        key = cls(wire.Reader(blob, "the public key").text(), blob)
        key.check()
        return key

    def check(self) -> None:
        """Make sure that the key is whole, of an accepted type, and strong; raises Malformed."""
        _ = self._checked

    @cached_property
    def _checked(self) -> bool:
        """True, found out once: each step of an issue looks at its keys again."""
        reader = self._reader()
        match self.algorithm:
            case "ssh-rsa":
                _check_rsa(exponent=reader.mpint(), modulus=reader.mpint())
            case "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521":
                _check_ecdsa(self.algorithm.removeprefix("ecdsa-sha2-"), reader)
            case "ssh-ed25519":
                _check_ed25519(reader.string())
            case "sk-ssh-ed25519@openssh.com":
                _check_ed25519(reader.string())
                _check_application(reader.text())
            case "sk-ecdsa-sha2-nistp256@openssh.com":
                _check_ecdsa("nistp256", reader)
                _check_application(reader.text())
            case "ssh-dss":
                raise Malformed("ssh-dss keys are too weak")
            case other if "-cert-v0" in other:
                raise Malformed(f"{shown(other)} is a certificate; give its key")
            case other:
                raise Malformed(f"{shown(other)} is no type of public key that is accepted here")
        reader.end()
        return True

    @cached_property
    def fields(self) -> bytes:
        """The blob without the name of its algorithm: what a certificate holds of its subject."""
        return self._reader().rest()

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 fingerprint, written as OpenSSH writes it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return "SHA256:" + digest.decode().rstrip("=")

    @property
    def line(self) -> str:
        """The key as one line of text, without a comment."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"

    @property
    def hardware(self) -> bool:
        """Whether the private half lives in a security key (FIDO)."""
        return self.algorithm.startswith("sk-")

    @property
    def bits(self) -> int:
        """The size that OpenSSH shows: of the modulus, or of the curve's field."""
        match self.algorithm.removesuffix("@openssh.com").rpartition("-")[2]:
            case "rsa":
                reader = self._reader()
                reader.mpint()
                return reader.mpint().bit_length()
            case "ed25519":
                return 256
            case name if name in _CURVES:
                return _CURVES[name].bits
        raise Malformed(f"the size of a key of type {shown(self.algorithm)} is not known")

    def __str__(self) -> str:
        """Return the key as one line of text."""
        return self.line

    def _reader(self) -> wire.Reader:
        """Return a reader that stands behind the name of the algorithm."""
        reader = wire.Reader(self.blob, "the public key")
        if reader.text() != self.algorithm:
            raise Malformed("the key's type does not match its data")
        return reader


def decoded(line: str, what: str, limit: int) -> tuple[str, bytes]:
    """Split one line `type base64 [comment]` into the type and the bytes.

    Raises Malformed for several lines, control characters, and lines over `limit` characters.
    """
    if len(line) > limit:
        raise Malformed(f"{what} is longer than {limit} characters")
    text = line.strip(" \t\r\n").replace("\t", " ")
    if _CONTROL.search(text):
        raise Malformed(f"{what} has several lines, or control characters")
    words = [word for word in text.split(" ") if word]
    if len(words) < 2:  # noqa: PLR2004
        raise Malformed(f"{what} is not a line `type base64 [comment]`")
    try:
        return words[0], base64.b64decode(words[1], validate=True)
    except (ValueError, binascii.Error) as error:
        raise Malformed(f"{what} is not a line `type base64 [comment]`: bad base64") from error


def shown(text: str) -> str:
    """Return foreign text as an error may show it: quoted, escaped and cut."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")  # noqa: PLR2004


def _check_rsa(*, exponent: int, modulus: int) -> None:
    if modulus.bit_length() not in _RSA_BITS:
        raise Malformed(
            f"an RSA key has {_RSA_BITS[0]} to {_RSA_BITS[-1]} bits, not {modulus.bit_length()}"
        )
    if modulus % 2 == 0:
        raise Malformed("the RSA modulus is even")
    if exponent % 2 == 0 or not 3 <= exponent <= _MAX_EXPONENT:  # noqa: PLR2004
        raise Malformed("the RSA exponent is not an odd number from 3 to 2**64")


def _check_ecdsa(name: str, reader: wire.Reader) -> None:
    """Refuse what is not a point of the curve: computing with it can give the other side away."""
    if reader.text() != name:
        raise Malformed("the ECDSA key's curve does not match its type")
    point, curve = reader.string(), _CURVES[name]
    size = (curve.bits + 7) // 8
    if len(point) != 1 + 2 * size or point[0] != 4:  # noqa: PLR2004
        raise Malformed("the ECDSA key is not an uncompressed point of its curve")
    x, y = int.from_bytes(point[1 : 1 + size], "big"), int.from_bytes(point[1 + size :], "big")
    if max(x, y) >= curve.p or (y * y - x * x * x + 3 * x - curve.b) % curve.p:
        raise Malformed("the ECDSA key's point is not on its curve")


def _check_ed25519(point: bytes) -> None:
    if len(point) != 32:  # noqa: PLR2004
        raise Malformed(f"an Ed25519 key has 32 bytes, not {len(point)}")
    y = int.from_bytes(point, "little") & (1 << 255) - 1  # the top bit is the sign of x
    if y >= _ED25519_P:
        raise Malformed("the Ed25519 key is not in its one canonical form")
    if y in _ED25519_SMALL_ORDER:
        raise Malformed("the Ed25519 key is a point of small order: anyone could sign with it")


def _check_application(application: str) -> None:
    """Refuse a credential of the web: signatures for a web site must never be ones for SSH."""
    if not application.startswith("ssh:"):
        raise Malformed("the security key's application does not begin with 'ssh:'")
