"""High-water marks, kept outside the database so that no restore takes them back (S3)."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock

from tatu.core.errors import Unavailable
from tatu.store.auditcopy import rolled_back


def publication(authority_id: str) -> str:
    """Return the key of an authority's newest version; the id alone is that of its next serial."""
    return f"publication:{authority_id}"


class NoHighWater:
    """Keeps no marks: nothing tells then that the database was rolled back."""

    def check(self, key: str, value: int) -> None:
        """Know nothing better."""

    def raise_to(self, key: str, value: int) -> None:
        """Keep nothing."""

    def marks(self) -> Mapping[str, int]:
        """Return none."""
        return {}


class HighWater:
    """Marks in one small file, replaced as a whole; processes of one machine share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()

    def check(self, key: str, value: int) -> None:
        """Raise `RolledBack` when the database's value is below its mark.

        To be called with the value's row locked: a mark is only raised to what was committed.
        """
        mark = self.marks().get(key, 0)
        if value < mark:
            raise rolled_back(f"{key!r} stands at {value}, its high-water mark at {mark}")

    def raise_to(self, key: str, value: int) -> None:
        """Raise a mark; on disk on return. Raises `Unavailable`."""
        with self._alone():
            marks = dict(self.marks())
            if marks.get(key, 0) < value:
                marks[key] = value
                self._replace(json.dumps(marks, sort_keys=True, indent=0))

    def marks(self) -> Mapping[str, int]:
        """Return all marks; raises `Unavailable` when they cannot be read: signing stops then."""
        try:
            return {
                str(key): int(value) for key, value in json.loads(self._path.read_bytes()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            raise Unavailable("the high-water marks cannot be read (highwater.json)") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with self._lock, self._path.with_suffix(".lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise Unavailable(f"the high-water marks cannot be kept ({error.strerror})") from error

    def _replace(self, content: str) -> None:
        new = self._path.with_suffix(".new")
        with new.open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
