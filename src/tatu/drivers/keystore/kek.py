"""Key-encryption keys: where the operator keeps them, and how they wrap data keys.

A KEK is 32 random bytes. There may be several, one base64 line each, the current one first: what
is new is wrapped by the first, what is old can still be opened by the others.
"""

import base64
import binascii
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tatu.core.errors import Unavailable
from tatu.ports import Randomness

SIZE = 32
ID_SIZE = 8
NONCE_SIZE = 12

_MAX_TEXT = 4096


@dataclass(frozen=True)
class Kek:
    """One key-encryption key; it never shows itself."""

    key: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """What tells it from others; says nothing about it."""
        mac = hmac.HMAC(self.key, hashes.SHA256())
        mac.update(b"tatu key-encryption key id")
        return mac.finalize()[:ID_SIZE]

    def wrap(self, data_key: bytes, name: str, randomness: Randomness) -> bytes:
        """Encrypt a data key for the secret of a name."""
        nonce = randomness(NONCE_SIZE)
        return nonce + AESGCM(self.key).encrypt(nonce, data_key, self._bound(name))

    def unwrap(self, wrapped: bytes, name: str) -> bytes:
        """Decrypt a data key; raises InvalidTag when it is another's, or of another secret."""
        nonce, sealed = wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:]
        return AESGCM(self.key).decrypt(nonce, sealed, self._bound(name))

    def _bound(self, name: str) -> bytes:
        return self.id + name.encode()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a key-encryption key is not written down")


@dataclass(frozen=True)
class Keks:
    """The KEKs at hand, the current one first."""

    keys: tuple[Kek, ...]

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read KEKs, one base64 line each; raises `Unavailable` naming only `where`."""
        keys = []
        for line in text.split():
            try:
                key = base64.b64decode(line, validate=True)
            except (ValueError, binascii.Error):
                key = b""
            if len(key) != SIZE:
                raise Unavailable(f"{where} is not lines of {SIZE} bytes in base64") from None
            keys.append(Kek(key))
        if not keys:
            raise Unavailable(f"{where} is empty; make a key with `tatu-manage keystore new-key`")
        if len({kek.id for kek in keys}) < len(keys):
            raise Unavailable(f"{where} holds a key twice")
        return cls(tuple(keys))

    @property
    def current(self) -> Kek:
        """The one that wraps what is new."""
        return self.keys[0]

    def of(self, kek_id: bytes) -> Kek:
        """Return the KEK of an id; raises `Unavailable`."""
        for kek in self.keys:
            if kek.id == kek_id:
                return kek
        raise Unavailable(f"the key-encryption key {kek_id.hex()} is not at hand")


def new_line(randomness: Randomness) -> str:
    """Return a new KEK as a line of text."""
    return base64.b64encode(randomness(SIZE)).decode()


def from_file(path: Path) -> Keks:
    """Read the KEKs of a file that nobody but us can read; raises `Unavailable` otherwise."""
    where = f"the key-encryption key file {path}"
    try:
        # No link is followed: its folder could be somebody else's.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Unavailable(f"{where} cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise Unavailable(f"{where} is no plain file")
        if status.st_uid != os.geteuid():
            raise Unavailable(f"{where} belongs to somebody else (user id {status.st_uid})")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise Unavailable(f"{where} can be read by others: chmod 600")
        return Keks.parse(_text(os.read(handle, _MAX_TEXT + 1)), where)
    except OSError as error:
        raise Unavailable(f"{where} cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)


def add_to_file(path: Path, randomness: Randomness) -> bool:
    """Make a new KEK the current one of a file; durable on return. Raises `Unavailable`.

    Return whether the file had some. They are kept: it is written beside and renamed, so that
    they are never lost on the way.
    """
    older = ""
    if path.exists() or path.is_symlink():
        from_file(path)
        older = path.read_text()
    beside = path.with_name(f"{path.name}.new")
    try:
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{new_line(randomness)}\n{older}")
            file.flush()
            os.fsync(handle)
        beside.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
    return bool(older)


def from_environment(variable: str) -> Keks:
    """Take the KEKs of an environment variable out of it; raises `Unavailable`.

    It does not stay there: WSGI servers copy the environment into every request, and what we
    start would inherit it.
    """
    where = f"the environment variable {variable}"
    text = os.environ.pop(variable, None)
    if text is None:
        raise Unavailable(f"{where} with the key-encryption key is not set")
    return Keks.parse(text, where)


def from_credential(name: str) -> Keks:
    """Read the KEKs of a systemd credential; raises `Unavailable`.

    systemd alone fills that folder and lets only this service in: modes there are its business.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        raise Unavailable("$CREDENTIALS_DIRECTORY is not set: was this started by systemd?")
    where = f"the systemd credential {name!r}"
    if "/" in name or name in (".", ".."):
        raise Unavailable(f"{where} is no name of a credential")
    try:
        data = (Path(folder) / name).read_bytes()
    except OSError as error:
        raise Unavailable(f"{where} cannot be read: {error.strerror}") from error
    return Keks.parse(_text(data), where)


def _text(data: bytes) -> str:
    """Return text that `parse` refuses when the data are no KEKs by their size alone."""
    return data.decode("ascii", "replace") if len(data) <= _MAX_TEXT else "too long"
