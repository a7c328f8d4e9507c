"""Keys that were opened: in memory alone, and so many at most."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from tatu.core.errors import Unavailable
from tatu.drivers.keystore.signer import MemorySigner, PrivateKey
from tatu.drivers.together import Together
from tatu.ports import Signer

_CAPACITY = 4096


def encode(private_key: PrivateKey) -> bytes:
    """Write a private key as PKCS #8, in clear: for what keeps it safe."""
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


class Signers:
    """Opens each key once; of too many, forgets the one that was used least recently."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._opened: OrderedDict[str, Signer] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: Together[Signer] = Together()

    def get(self, reference: str, read: Callable[[str], bytes]) -> Signer:
        """Return the signer of a key; `read` gets its PKCS #8 when it is not open.

        Raises what `read` raises, and `Unavailable` when that is no key which signs.
        """
        signer = self._find(reference)
        if signer is not None:
            return signer
        return self._opening.ask(
            reference, lambda: self.keep(reference, _decode(reference, read(reference)))
        )

    def _find(self, reference: str) -> Signer | None:
        with self._lock:
            signer = self._opened.get(reference)
            if signer is not None:
                self._opened.move_to_end(reference)
        return signer

    def keep(self, reference: str, private_key: PrivateKey) -> Signer:
        """Return the signer of a key that is open."""
        signer = MemorySigner(private_key)
        with self._lock:
            self._opened[reference] = signer
            if len(self._opened) > self._capacity:
                self._opened.popitem(last=False)
        return signer

    def forget(self, reference: str) -> None:
        """Close a key, if it is open."""
        with self._lock:
            self._opened.pop(reference, None)


def _decode(reference: str, der: bytes) -> PrivateKey:
    try:
        private_key = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Unavailable(f"the key {reference!r} is damaged") from error
    if isinstance(
        private_key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ):
        return private_key
    raise Unavailable(f"the key {reference!r} is of a type that signs nothing here")
