"""Checking the signatures of statements and certificates, by the keys that an authority may have.

There are two verifiers: the core has no library to verify with, and the client and the server's
drivers do not know each other. `tests/contract/verifier` holds both to the same; a client meets
no signature by a security key, so that this one denies them.
"""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from tatu.core import wire
from tatu.core.errors import Denied, Malformed
from tatu.core.keys import PublicKey

_ECDSA: dict[str, hashes.HashAlgorithm] = {
    "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(),
    "ecdsa-sha2-nistp521": hashes.SHA512(),
}
_RSA: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}


def verify(public_key: PublicKey, signature: bytes, data: bytes) -> None:
    """Raise `Denied` unless the SSH signature blob is the key's over the data."""
    try:
        public_key.check()
        reader = wire.Reader(signature, "the signature")
        algorithm, blob = reader.text(), reader.string()
        reader.end()
        match load_ssh_public_key(public_key.line.encode()):
            case ed25519.Ed25519PublicKey() as key if algorithm == "ssh-ed25519":
                key.verify(blob, data)
            case ec.EllipticCurvePublicKey() as key if (
                algorithm == public_key.algorithm and algorithm in _ECDSA
            ):
                numbers = wire.Reader(blob, "the signature")
                r, s = numbers.mpint(), numbers.mpint()
                numbers.end()
                key.verify(encode_dss_signature(r, s), data, ec.ECDSA(_ECDSA[algorithm]))
            case rsa.RSAPublicKey() as key if algorithm in _RSA:
                key.verify(blob, data, padding.PKCS1v15(), _RSA[algorithm])
            case _:
                raise Denied(f"a key of type {public_key.algorithm} does not sign so")
    except (InvalidSignature, Malformed, UnsupportedAlgorithm, ValueError) as error:
        raise Denied(f"the signature is not by {public_key.fingerprint}") from error
