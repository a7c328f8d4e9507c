"""Envelopes: each secret is sealed by a data key of its own, which a KEK wraps (AES-256-GCM)."""

from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tatu.core.errors import Unavailable
from tatu.drivers.keystore.kek import ID_SIZE, NONCE_SIZE, SIZE, Kek, Keks
from tatu.ports import Randomness

_MAGIC = b"TATU1"
_TAG_SIZE = 16
_WRAPPED_AT = len(_MAGIC) + ID_SIZE
_SEALED_AT = _WRAPPED_AT + NONCE_SIZE + SIZE + _TAG_SIZE


@dataclass(frozen=True)
class Envelope:
    """A secret as it is kept: whose KEK wraps its data key, that key wrapped, the sealed secret.

    All is bound to the secret's name, so that whoever can write to the ledger cannot put one
    secret in another's place.
    """

    kek_id: bytes
    wrapped_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    @classmethod
    def seal(cls, kek: Kek, name: str, secret: bytes, randomness: Randomness) -> Self:
        """Seal a secret under a new data key."""
        data_key, nonce = randomness(SIZE), randomness(NONCE_SIZE)
        sealed = nonce + AESGCM(data_key).encrypt(nonce, secret, name.encode())
        return cls(kek.id, kek.wrap(data_key, name, randomness), sealed)

    @classmethod
    def read(cls, data: bytes, name: str) -> Self:
        """Read what `encoded` wrote; raises `Unavailable`."""
        if not data.startswith(_MAGIC) or len(data) <= _SEALED_AT:
            raise _damaged(name)
        return cls(
            data[len(_MAGIC) : _WRAPPED_AT], data[_WRAPPED_AT:_SEALED_AT], data[_SEALED_AT:]
        )

    @property
    def encoded(self) -> bytes:
        """The bytes that are stored."""
        return _MAGIC + self.kek_id + self.wrapped_key + self.sealed

    def open(self, keks: Keks, name: str) -> bytes:
        """Return the secret; raises `Unavailable`."""
        nonce, sealed = self.sealed[:NONCE_SIZE], self.sealed[NONCE_SIZE:]
        try:
            return AESGCM(self._data_key(keks, name)).decrypt(nonce, sealed, name.encode())
        except (InvalidTag, ValueError) as error:
            raise _damaged(name) from error

    def rewrapped(self, keks: Keks, name: str, randomness: Randomness) -> Self:
        """Return it with its data key wrapped by the current KEK; raises `Unavailable`."""
        wrapped = keks.current.wrap(self._data_key(keks, name), name, randomness)
        return type(self)(keks.current.id, wrapped, self.sealed)

    def _data_key(self, keks: Keks, name: str) -> bytes:
        try:
            return keks.of(self.kek_id).unwrap(self.wrapped_key, name)
        except InvalidTag as error:
            raise _damaged(name) from error


def _damaged(name: str) -> Unavailable:
    return Unavailable(f"the stored secret {name!r} is damaged, or another's")
