"""Checks SSH signatures (RFC 4253, 5656, 8332, 8709; PROTOCOL.u2f).

The client has a verifier of its own: `tatu.client.verifying` says why.
"""

import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tatu.core import wire
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey
from tatu.ports import Verifier

_USER_PRESENT = 0x01
_CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
# ssh-rsa itself is not here: it signs a SHA-1 digest, for which collisions are bought.
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}


class CryptographyVerifier(Verifier):
    """Verifies with the `cryptography` library."""

    def verify(self, public_key: PublicKey, signature: bytes, data: bytes) -> None:
        """Raise `Denied` unless the SSH signature blob is the key's over the data."""
        try:
            public_key.check()
            _verify(public_key, signature, data)
        except (InvalidSignature, Malformed, UnsupportedAlgorithm, ValueError) as error:
            raise Denied("the signature does not verify") from error


def _verify(public_key: PublicKey, signature: bytes, data: bytes) -> None:
    key = wire.Reader(public_key.fields, "the public key")
    parts = wire.Reader(signature, "the signature")
    algorithm, blob = parts.text(), parts.string()
    if public_key.algorithm not in ("ssh-rsa", algorithm):
        raise Malformed("the signature is of another type than the key")
    match public_key.algorithm:
        case "ssh-ed25519":
            parts.end()
            _ed25519(key, blob, data)
        case "ssh-rsa":
            parts.end()
            _rsa(key, algorithm, blob, data)
        case "sk-ssh-ed25519@openssh.com":
            point = key.string()
            asserted = _asserted(key.string(), parts, data)
            _ed25519(wire.Reader(wire.string(point)), blob, asserted)
        case "sk-ecdsa-sha2-nistp256@openssh.com":
            curve, point = key.string(), key.string()
            asserted = _asserted(key.string(), parts, data)
            _ecdsa(wire.Reader(wire.string(curve) + wire.string(point)), blob, asserted)
        case _:
            parts.end()
            _ecdsa(key, blob, data)


def _ed25519(key: wire.Reader, blob: bytes, data: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(key.string()).verify(blob, data)


def _ecdsa(key: wire.Reader, blob: bytes, data: bytes) -> None:
    curve, digest = _CURVES[key.text()]
    numbers = wire.Reader(blob, "the signature")
    der = encode_dss_signature(numbers.mpint(), numbers.mpint())
    numbers.end()
    ec.EllipticCurvePublicKey.from_encoded_point(curve, key.string()).verify(
        der, data, ec.ECDSA(digest)
    )


def _rsa(key: wire.Reader, algorithm: str, blob: bytes, data: bytes) -> None:
    if algorithm not in _RSA_HASHES:
        raise Malformed("an RSA key signs rsa-sha2-256 or rsa-sha2-512")
    exponent, modulus = key.mpint(), key.mpint()
    rsa.RSAPublicNumbers(exponent, modulus).public_key().verify(
        blob, data, padding.PKCS1v15(), _RSA_HASHES[algorithm]
    )


def _asserted(application: bytes, parts: wire.Reader, data: bytes) -> bytes:
    """Return what a security key signed for the data; it saw its user, or this is `Malformed`."""
    flags, counter = parts.uint8(), parts.uint32()
    parts.end()
    if not flags & _USER_PRESENT:
        raise Malformed("the security key was not touched")
    return b"".join(
        (
            hashlib.sha256(application).digest(),
            wire.uint8(flags),
            wire.uint32(counter),
            hashlib.sha256(data).digest(),
        )
    )
