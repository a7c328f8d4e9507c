"""The audit copy: the chain's links in a file, which no restore of the database takes back (S3).

It is JSON, a link in each line, only ever appended to. Processes of one machine share it.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import IO

from tatu.core import audit
from tatu.core.audit import GENESIS, Link
from tatu.core.errors import Malformed, RolledBack, Unavailable

_BODY = ',"body":'
_TAIL = 64 * 2**10

Missing = Callable[[int], Iterator[Link]]
"""The database's links after a sequence."""


def rolled_back(why: str) -> RolledBack:
    """Return the error that stops all signing."""
    return RolledBack(f"ledger rolled back ({why}): run `tatu-manage db restored`")


def read(path: Path) -> Iterator[Link]:
    """Yield the links of a copy; raises `Malformed` for a line that is none, `Unavailable`.

    A torn last line, left by a machine that stopped while writing, is passed over.
    """
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield _parse(line)
    except OSError as error:
        raise Unavailable(f"the audit copy cannot be read ({error.strerror})") from error


class NoCopy:
    """Keeps no copy: nothing tells then that the database was rolled back."""

    def check(self, sequence: int, digest: str) -> None:
        """Know nothing better."""

    def extend(self, links: Sequence[Link], missing: Missing) -> None:
        """Keep nothing."""

    def catch_up(self, missing: Missing) -> None:
        """Keep nothing."""

    def start_again(self, missing: Missing) -> None:
        """Keep nothing."""


class AuditCopy:
    """The copy in one file; `check` and `extend` know its end without reading it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, int] = (-1, -1)
        self._last = (0, GENESIS)

    def check(self, sequence: int, digest: str) -> None:
        """Raise `RolledBack` when the copy is ahead of a database whose chain ends like this."""
        with self._lock:
            if self._stat() != self._seen:
                with self._open() as file:
                    self._refresh(file)
            last, last_digest = self._last
        if last > sequence:
            raise rolled_back(f"it ends at event {sequence}, the audit copy at {last}")
        if last == sequence and last_digest != digest:
            raise rolled_back(f"event {sequence} is not that of the audit copy")

    def extend(self, links: Sequence[Link], missing: Missing) -> None:
        """Append links that are committed, and any before them that others committed.

        On return they are on disk. Raises `RolledBack` when they do not follow, `Unavailable`.
        """
        with self._lock, self._open() as file:
            if self._status(file) != self._seen:
                self._refresh(file)
            if links[-1].sequence <= self._last[0]:
                return
            if links[0].sequence == self._last[0] + 1:
                self._append(file, links)
            else:
                self._append(file, missing(self._last[0]))

    def catch_up(self, missing: Missing) -> None:
        """Append what the database has more; raises `RolledBack` when it does not follow."""
        with self._lock, self._open() as file:
            self._refresh(file)
            self._append(file, missing(self._last[0]))

    def start_again(self, missing: Missing) -> None:
        """Put the file aside under the next free number and copy the whole chain anew."""
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.{number}")).exists():
            number += 1
        try:
            if self._path.exists():
                self._path.rename(aside)
        except OSError as error:
            raise Unavailable(f"the audit copy cannot be put aside ({error.strerror})") from error
        self.catch_up(missing)

    def _open(self) -> "_Locked":
        return _Locked(self._path)

    def _stat(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        except OSError as error:
            raise Unavailable(f"the audit copy cannot be read ({error.strerror})") from error
        return found.st_ino, found.st_size

    def _status(self, file: IO[bytes]) -> tuple[int, int]:
        found = os.fstat(file.fileno())
        return found.st_ino, found.st_size

    def _refresh(self, file: IO[bytes]) -> None:
        """Find the last link; cut off what a process that was killed left of a line."""
        size = file.seek(0, os.SEEK_END)
        start, tail = size, b""
        while start and tail.rstrip(b"\n").count(b"\n") < 2:  # noqa: PLR2004 (a torn line, and the whole one before)
            step = min(start, max(_TAIL, len(tail)))
            start -= step
            file.seek(start)
            tail = file.read(step) + tail
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):
            file.truncate(size - len(tail) + len(whole))
        self._last = (0, GENESIS)
        if whole:
            try:
                link = _parse(whole[:-1].rsplit(b"\n", 1)[-1])
            except Malformed as error:  # ours, not the caller's
                raise Unavailable(f"the audit copy is damaged: {error}") from error
            self._last = (link.sequence, link.hash)
        self._seen = self._status(file)

    def _append(self, file: IO[bytes], links: Sequence[Link] | Iterator[Link]) -> None:
        file.seek(0, os.SEEK_END)
        last = self._last
        for link in links:
            if (link.sequence - 1, link.previous) != last:
                raise rolled_back(f"event {link.sequence} does not follow the audit copy")
            file.write(line(link))
            last = (link.sequence, link.hash)
        file.flush()
        os.fdatasync(file.fileno())
        self._last, self._seen = last, self._status(file)


class _Locked:
    """The file, opened to read and append, under a lock that all processes respect."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> IO[bytes]:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "r+b")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(f"the audit copy cannot be opened ({error.strerror})") from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._file.close()
        except OSError as closing:
            error = error or closing
        if isinstance(error, OSError):
            raise Unavailable(f"the audit copy cannot be written ({error.strerror})") from error


def line(link: Link) -> bytes:
    """Write a link with its body as it is: canonical JSON in one line."""
    place = f'{{"sequence":{link.sequence},"previous":"{link.previous}","hash":"{link.hash}",'
    return f'{place}"body":{link.body}}}\n'.encode()


def _parse(written: bytes) -> Link:
    try:
        place, _, rest = written.decode("ascii").rstrip().partition(_BODY)
        facts = json.loads(place + "}")
        link = Link(
            sequence=int(facts["sequence"]),
            previous=str(facts["previous"]),
            body=rest.removesuffix("}"),  # not parsed: its very bytes are what was hashed
            hash=str(facts["hash"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("the audit copy has a line that is no link") from error
    if link != audit.link(link.previous, link.sequence, link.body):
        raise Malformed(f"event {link.sequence} of the audit copy is not what was written")
    return link
