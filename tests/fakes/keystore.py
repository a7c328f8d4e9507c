"""A key store in memory, which can be out."""

import uuid

from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import NotFound, Unavailable
from tatu.core.keys import PublicKey
from tatu.drivers.keystore.signer import MemorySigner, generate
from tatu.ports import KeyStore, Signer


class FakeKeyStore(KeyStore):
    """Signs for real; with `out` it does not answer."""

    def __init__(self) -> None:
        self.out = False
        self.signers: dict[str, MemorySigner] = {}

    def create(self, algorithm: KeyAlgorithm) -> tuple[str, PublicKey]:
        self.check()
        reference = str(uuid.uuid4())
        self.signers[reference] = MemorySigner(generate(algorithm))
        return reference, self.signers[reference].public_key

    def signer(self, reference: str) -> Signer:
        self.check()
        if reference not in self.signers:
            raise NotFound(f"there is no key {reference!r}")
        return self.signers[reference]

    def delete(self, reference: str) -> None:
        self.check()
        self.signers.pop(reference, None)

    def secret(self, name: str) -> bytes:
        self.check()
        return name.encode().ljust(32, b".")

    def check(self) -> None:
        if self.out:
            raise Unavailable("the key store does not answer")
