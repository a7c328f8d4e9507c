"""A private key in memory that signs certificates, statements and checkpoints, nothing else."""

from typing import NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tatu.core import certificate, statement, wire
from tatu.core.audit import Checkpoint
from tatu.core.authority import KeyAlgorithm
from tatu.core.certificate import Certificate, CertificateToSign
from tatu.core.errors import Denied, Unavailable
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed
from tatu.core.statement import Statement
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import Signer

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_HASH = "sha512"
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(),
}


def generate(algorithm: KeyAlgorithm) -> PrivateKey:
    """Make a key."""
    match algorithm:
        case KeyAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case KeyAlgorithm.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyAlgorithm.RSA_3072:
            return rsa.generate_private_key(65537, 3072)
        case KeyAlgorithm.RSA_4096:
            return rsa.generate_private_key(65537, 4096)


class MemorySigner(Signer):
    """Signs with a key that was opened; whatever shows it, shows its public half."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        line = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self._public_key = PublicKey.parse(line.decode())
        self._verifier = CryptographyVerifier()

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return self._public_key

    def sign_certificate(self, contents: CertificateToSign) -> Certificate:
        """Sign a certificate; raises ValueError when it names another signature key."""
        if contents.signature_key != self._public_key:
            raise ValueError("the certificate names another signature key")
        return certificate.signed(contents, self._sign(contents.to_be_signed))

    def sign_statement(self, statement_: Statement) -> str:
        """Return the armored signature over the encoded statement."""
        return self._sign_message(Namespace.STATEMENT, statement.encode(statement_))

    def sign_checkpoint(self, checkpoint: Checkpoint) -> str:
        """Return the armored signature over the encoded checkpoint."""
        return self._sign_message(Namespace.CHECKPOINT, checkpoint.encoded)

    def __repr__(self) -> str:
        """Show the public half."""
        return f"{type(self).__name__}({self._public_key.fingerprint})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a private key is not written down")

    def _sign_message(self, namespace: Namespace, message: bytes) -> str:
        signature = self._sign(to_be_signed(namespace, message, _HASH))
        return SshSignature(self._public_key, namespace, _HASH, signature).armored

    def _sign(self, data: bytes) -> bytes:
        """Return an SSH signature blob, verified: a fault while signing can betray the key."""
        algorithm, signature = self._raw(data)
        blob = wire.string(algorithm) + wire.string(signature)
        try:
            self._verifier.verify(self._public_key, blob, data)
        except Denied as error:
            raise Unavailable("the key store made a signature that does not verify") from error
        return blob

    def _raw(self, data: bytes) -> tuple[str, bytes]:
        key, algorithm = self._private_key, self._public_key.algorithm
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return algorithm, key.sign(data)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_DIGESTS[algorithm])))
            return algorithm, wire.mpint(r) + wire.mpint(s)
        return "rsa-sha2-512", key.sign(data, padding.PKCS1v15(), hashes.SHA512())
