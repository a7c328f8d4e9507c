"""What an operator does to the ledger's database beside the ledger itself."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL

from tatu.core.errors import Conflict, Malformed, Unavailable
from tatu.store import revision
from tatu.store.database import make_engine, parse_url


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """One database, by the URL of its ledger."""

    url: str = field(repr=False)

    @property
    def newest(self) -> str:
        """The revision that this program needs."""
        return revision.NEWEST

    def current(self) -> str | None:
        """Return the revision that the database is at, None when empty. Raises `Unavailable`."""
        engine = make_engine(self.url, pool_size=1)
        try:
            return revision.current(engine)
        finally:
            engine.dispose()

    def migrate(self) -> None:
        """Bring the database to the newest revision. Raises `Unavailable`."""
        # Here, because nothing else needs Alembic, which is much to import.
        from tatu.store import migrations  # noqa: PLC0415

        if file := _file(parse_url(self.url)):
            # before SQLite makes it, so that never anybody else could open it
            _make(file, os.O_CREAT)
        migrations.migrate(self.url)

    def backup(self, target: Path) -> None:
        """Copy a SQLite ledger, also while it is used, into a new file; durable on return.

        Raises `Malformed` for another database, `Conflict` when there is such a file,
        `Unavailable`.
        """
        source = _file(parse_url(self.url))
        if source is None:
            raise Malformed("only SQLite is backed up here: use pg_dump or mariadb-dump")
        _make(target, os.O_CREAT | os.O_EXCL)
        try:
            with (
                closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
                closing(sqlite3.connect(target)) as new,
            ):
                old.backup(new)
            with target.open("rb") as written:
                os.fsync(written.fileno())
        except (sqlite3.Error, OSError) as error:
            target.unlink()
            raise Unavailable(f"the backup failed: {error}") from error


def _file(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _make(file: Path, flags: int) -> None:
    try:
        os.close(os.open(file, flags | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise Conflict(f"{file} is there already") from None
    except OSError as error:
        raise Unavailable(f"{file} cannot be made: {error.strerror}") from error
