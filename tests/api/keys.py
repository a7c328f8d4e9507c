"""Keys of clients, made in memory, that sign as ssh-keygen does."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tatu.core import wire
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed


class ClientKey:
    """An Ed25519 key pair."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        blob = wire.string("ssh-ed25519") + wire.string(raw)
        self.public = PublicKey.from_blob(blob)

    @property
    def line(self) -> str:
        return self.public.line

    def sign(self, namespace: Namespace, message: bytes) -> str:
        raw = self._private.sign(to_be_signed(namespace, message))
        blob = wire.string("ssh-ed25519") + wire.string(raw)
        return SshSignature(self.public, namespace, "sha512", blob).armored
