"""Files that are whole at every moment: written beside, synced, renamed.

No symbolic link is followed in the folder or the file; whoever could place one would be writing
sshd's configuration.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tatu.agent.errors import AgentError, Unwritten

_CONTEXT = "security.selinux"


def folder(path: Path, mode: int) -> None:
    """Make a folder, and those above it, unless they are there; raises OSError.

    The mode holds whatever the umask is: sshd reads principals as the user who logs in.
    """
    if path.is_dir():
        return
    folder(path.parent, 0o755)
    with suppress(FileExistsError):
        path.mkdir()
        path.chmod(mode)
    with _opened(path.parent) as parent:
        os.fsync(parent)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield opened
    finally:
        os.close(opened)


def read(path: Path, limit: int) -> bytes | None:
    """Return a regular file's bytes, or None when there is none; raises `AgentError`."""
    try:
        # NONBLOCK: opening a FIFO would wait for ever
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise AgentError(f"{path} is no regular file")
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise AgentError(f"{path} is over {limit} bytes")
    return data


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file: whatever happens, it holds all of the old bytes or all of the new.

    When this returns the new ones are durable. Raises `Unwritten`.
    """
    beside = f".{path.name}.new"
    try:
        with _opened(path.parent) as parent:
            _remove(beside, parent)  # an earlier run was killed
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                with os.fdopen(os.open(beside, flags, 0o600, dir_fd=parent), "wb") as file:
                    _keep_context(path, file.fileno())
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                os.rename(beside, path.name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                _remove(beside, parent)
                raise
            os.fsync(parent)
    except OSError as error:
        raise Unwritten(f"cannot write {path}: {error.strerror}") from error


def _keep_context(path: Path, new: int) -> None:
    """Give what replaces a file its SELinux context, which a rename would change.

    `place` sets what the policy wants; between the two sshd could not read the file.
    """
    with suppress(OSError):  # there is no such file, or no SELinux
        context = os.getxattr(path, _CONTEXT, follow_symlinks=False)
        os.setxattr(new, _CONTEXT, context)


def remove(path: Path) -> None:
    """Remove a file durably, if it is there; raises `AgentError`."""
    try:
        with _opened(path.parent) as parent:
            _remove(path.name, parent)
            os.fsync(parent)
    except OSError as error:
        raise AgentError(f"cannot remove {path}: {error.strerror}") from error


def _remove(name: str, parent: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)
