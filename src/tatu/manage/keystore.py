"""`tatu-manage keystore`: key-encryption keys of the embedded key store."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tatu import bootstrap
from tatu.bootstrap import Application
from tatu.core.audit import SYSTEM
from tatu.core.authority import KeyState, Purpose
from tatu.core.errors import NotFound, TatuError
from tatu.manage import opening
from tatu.service.audit import event

_PAGE = 100


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "new-key",
        help="make a key-encryption key; in a file that has some, it becomes the current one",
    )
    command.add_argument("file", type=Path, metavar="FILE")
    command.set_defaults(run=_new_key)
    command = commands.add_parser(
        "rewrap", help="wrap all by the current key, so that older ones may go"
    )
    command.set_defaults(run=_rewrap)
    command = commands.add_parser("check", help="open everything that the key store keeps")
    command.set_defaults(run=_check)
    command = commands.add_parser(
        "abandon",
        help="when a key-encryption key is lost: forget all that it alone opens, to start anew",
    )
    command.add_argument(
        "--for-ever", action="store_true", required=True, help="say that you mean it"
    )
    command.set_defaults(run=_abandon)


def _new_key(parsed: argparse.Namespace) -> None:
    path: Path = parsed.file
    older = bootstrap.new_kek(path)
    print(f"made a key in {path}; keep a copy in a safe place, away from the database's backups")
    if older:
        print("restart tatu-api, run `tatu-manage keystore rewrap`, then remove the older lines")


def _rewrap(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        count = application.embedded_keys.rewrap()
    print(f"wrapped {count} secrets anew; all are under the current key")


def _check(parsed: argparse.Namespace) -> int:
    with opening.application(parsed) as application:
        store = application.embedded_keys
        names = store.names()
        older, failed = 0, 0
        for name in names:
            try:
                older += not store.probe(name)
            except TatuError as error:
                failed += 1
                print(error)
    print(f"{len(names)} secrets: {failed} cannot be opened, {older} are under an older key")
    return int(failed > 0)


def _abandon(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        lost = application.embedded_keys.abandon()
        application.ledger.audit.append(
            event(
                "keystore.abandoned",
                by=SYSTEM,
                at=application.clock(),
                subject="keystore",
                names=lost,
            )
        )
        try:
            application.checkpoints.sign()
        except NotFound:
            application.checkpoints.renew()
        commands = list(_rotations(application))
    print(f"forgot {len(lost)} secrets that no key opens")
    print("".join(f"tatu-manage {words}\n" for words in commands), end="")


def _rotations(application: Application) -> Iterator[str]:
    """Yield the commands that give each authority keys in place of those that are gone."""
    marker: str | None = None
    while True:
        page = application.authorities.list(only=None, limit=_PAGE, marker=marker)
        for authority in page.items:
            for purpose in (Purpose.STATEMENT, Purpose.USER, Purpose.HOST):
                try:
                    application.keystore.signer(authority.active(purpose).reference)
                except NotFound:
                    mine = [key for key in authority.keys if key.purpose is purpose]
                    # a next key is gone too: it becomes active on the way to one that is not
                    times = 3 if any(key.state is KeyState.NEXT for key in mine) else 2
                    yield from [f"authority rotate --at-once {authority.id} {purpose}"] * times
        marker = page.marker
        if marker is None:
            return
