"""`tatu-manage db`: the ledger's database."""

import argparse
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tatu.config import Config
from tatu.core.audit import Link
from tatu.core.errors import Conflict, Malformed, Unavailable
from tatu.manage import opening, pruning
from tatu.store import auditcopy, migrations, revision
from tatu.store.database import make_engine, parse_url


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("sync", help="make the tables, or bring them up to date")
    command.set_defaults(run=_sync)
    command = commands.add_parser("version", help="tell the tables' revision, and the newest one")
    command.set_defaults(run=_version)
    command = commands.add_parser("check", help="tell whether the ledger can be used")
    command.set_defaults(run=_check)
    command = commands.add_parser(
        "restored",
        help="after a restore: skip serials that were given, revoke again what was revoked",
    )
    command.add_argument(
        "--copy",
        type=Path,
        metavar="FILE",
        help="audit copy to read (default: audit.jsonl of the state directory)",
    )
    command.set_defaults(run=_restored)
    command = commands.add_parser("backup", help="copy a SQLite ledger while it is in use")
    command.add_argument("file", type=Path, metavar="FILE", help="new file to write")
    command.set_defaults(run=_backup)
    command = commands.add_parser(
        "prune", help="remove superseded statements and KRLs, done cut-offs and cleared blocks"
    )
    pruning.add_to(command)


def _sync(parsed: argparse.Namespace) -> None:
    config = opening.configuration(parsed)
    backend = parse_url(config.database.connection)
    if backend.get_backend_name() == "sqlite" and backend.database:
        _make_private(Path(backend.database))
    migrations.migrate(config.database.connection)
    print(f"the ledger is at revision {revision.NEWEST}")


def _make_private(file: Path) -> None:
    """Make the file before SQLite does, so that never anybody else could open it."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unavailable(f"{file} cannot be made: {error.strerror}") from error


def _version(parsed: argparse.Namespace) -> int:
    config = opening.configuration(parsed)
    engine = make_engine(config.database.connection, pool_size=1)
    try:
        current = revision.current(engine)
    finally:
        engine.dispose()
    print(f"revision {current or 'none'}, newest {revision.NEWEST}")
    return int(current != revision.NEWEST)


def _check(parsed: argparse.Namespace) -> None:
    with opening.ledger(opening.configuration(parsed)) as ledger:
        ledger.check()
        sequence, _ = ledger.audit.head()
    print(f"the ledger works; its chain has {sequence} events")


def _restored(parsed: argparse.Namespace) -> None:
    config = opening.configuration(parsed)
    with opening.ledger(config, exclusive=True) as ledger:
        ledger.restored(_links(config, parsed.copy))
        ledger.check()
    print("the ledger may sign again; check it with `tatu-manage audit verify`")


def _links(config: Config, given: Path | None) -> Iterator[Link]:
    copy = given or config.state_directory / "audit.jsonl"
    if given is None and not copy.exists():
        return iter(())
    return auditcopy.read(copy)


def _backup(parsed: argparse.Namespace) -> None:
    url = parse_url(opening.configuration(parsed).database.connection)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise Malformed("only SQLite is backed up here: use pg_dump or mariadb-dump")
    try:
        os.close(os.open(parsed.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Conflict(f"{parsed.file} is there already") from None
    except OSError as error:
        raise Unavailable(f"{parsed.file} cannot be made: {error.strerror}") from error
    try:
        with (
            closing(sqlite3.connect(f"{Path(url.database).as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(parsed.file)) as target,
        ):
            source.backup(target)
        with parsed.file.open("rb") as written:
            os.fsync(written.fileno())
    except (sqlite3.Error, OSError) as error:
        parsed.file.unlink()
        raise Unavailable(f"the backup failed: {error}") from error
    print(f"the ledger is in {parsed.file}; keep the key-encryption key elsewhere")
