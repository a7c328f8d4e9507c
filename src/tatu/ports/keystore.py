"""Keys of authorities, and signatures by any key."""

from abc import abstractmethod
from typing import Protocol

from tatu.core.audit import Checkpoint
from tatu.core.authority import KeyAlgorithm
from tatu.core.certificate import Certificate, CertificateToSign
from tatu.core.keys import PublicKey
from tatu.core.statement import Statement


class Signer(Protocol):
    """One private key that never shows itself and signs only what it can read (S1)."""

    @property
    @abstractmethod
    def public_key(self) -> PublicKey:
        """The public half."""

    @abstractmethod
    def sign_certificate(self, contents: CertificateToSign) -> Certificate:
        """Sign a certificate.

        The signature is verified before it is returned. Raises `Unavailable`, and ValueError when
        the certificate names another signature key: that is a mistake in Tatu, no answer to a
        caller.
        """

    @abstractmethod
    def sign_statement(self, statement: Statement) -> str:
        """Return the armored SSHSIG (`statement@tatu`) over the encoded statement.

        Raises `Unavailable`.
        """

    @abstractmethod
    def sign_checkpoint(self, checkpoint: Checkpoint) -> str:
        """Return the armored SSHSIG (`checkpoint@tatu`) over the encoded checkpoint.

        Raises `Unavailable`.
        """


class KeyStore(Protocol):
    """Where private keys live."""

    @abstractmethod
    def create(self, algorithm: KeyAlgorithm) -> tuple[str, PublicKey]:
        """Make a key.

        Return its reference and public half. Durable on return. Raises `Unavailable`.
        """

    @abstractmethod
    def signer(self, reference: str) -> Signer:
        """Return the signer of a key. Raises `NotFound` or `Unavailable`."""

    @abstractmethod
    def delete(self, reference: str) -> None:
        """Destroy a key; no error when it is gone already. Raises `Unavailable`."""

    @abstractmethod
    def secret(self, name: str) -> bytes:
        """Return the deployment's 32-byte secret of this name, made at the first call.

        The same for every process and for ever. Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong."""


class Verifier(Protocol):
    """Checks signatures."""

    @abstractmethod
    def verify(self, public_key: PublicKey, signature: bytes, data: bytes) -> None:
        """Raise `Denied` unless the SSH signature blob is the key's over the data.

        Takes every type that `core.keys` reads; of hardware keys the user must have been present
        (flag bit 0); RSA signs with SHA-2.
        """
