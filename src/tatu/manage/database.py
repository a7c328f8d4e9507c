"""`tatu-manage db`: the ledger's database."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tatu import bootstrap
from tatu.config import Config
from tatu.core.audit import Link
from tatu.manage import opening, pruning


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
    database = bootstrap.upkeep(config)
    with opening.as_the_service(config):
        database.migrate()
    print(f"the ledger is at revision {database.newest}")


def _version(parsed: argparse.Namespace) -> int:
    config = opening.configuration(parsed)
    database = bootstrap.upkeep(config)
    with opening.as_the_service(config):
        current = database.current()
    print(f"revision {current or 'none'}, newest {database.newest}")
    return int(current != database.newest)


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
    return bootstrap.read_audit_copy(copy)


def _backup(parsed: argparse.Namespace) -> None:
    config = opening.configuration(parsed)
    with opening.as_the_service(config):
        bootstrap.upkeep(config).backup(parsed.file)
    print(f"the ledger is in {parsed.file}; keep the key-encryption key elsewhere")
