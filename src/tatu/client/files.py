"""Files that are private, whole at any moment, and changed by one process at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tatu.core.errors import Conflict, NotFound


def private_folder(path: Path) -> Path:
    """Make a folder that only we may enter; raises `Conflict` when it is somebody else's.

    In a folder of somebody else, whatever we write could be exchanged behind our back.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise Conflict(f"{path} belongs to somebody else")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    return path


def write(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Put a file in place as a whole, or leave the old one: readers never see a part."""
    content = data.encode() if isinstance(data, str) else data
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def read(path: Path) -> str:
    """Return a text file; raises `NotFound`, naming it, when it cannot be read as one."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NotFound(f"cannot read {path}: {reason}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process at the latest; others wait."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
