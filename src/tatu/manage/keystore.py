"""`tatu-manage keystore`: key-encryption keys of the embedded key store."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from tatu.bootstrap import Application
from tatu.core.audit import SYSTEM
from tatu.core.authority import KeyState, Purpose
from tatu.core.errors import Malformed, NotFound, TatuError, Unavailable
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.local import Local
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
    """Write the new key beside and rename: the old ones are never lost on the way."""
    path: Path = parsed.file
    older = ""
    if path.exists() or path.is_symlink():
        kek.from_file(path)
        older = path.read_text()
    beside = path.with_name(f"{path.name}.new")
    try:
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{kek.new_line(os.urandom)}\n{older}")
            file.flush()
            os.fsync(handle)
        beside.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
    print(f"made a key in {path}; keep a copy in a safe place, away from the database's backups")
    if older:
        print("restart tatu-api, run `tatu-manage keystore rewrap`, then remove the older lines")


def _rewrap(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        count = _local(application).rewrap()
    print(f"wrapped {count} secrets anew; all are under the current key")


def _check(parsed: argparse.Namespace) -> int:
    with opening.application(parsed) as application:
        store = _local(application)
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
        lost = _local(application).abandon()
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
                    yield from [f"authority rotate {authority.id} {purpose}"] * times
        marker = page.marker
        if marker is None:
            return


def _local(application: Application) -> Local:
    if not isinstance(application.keystore, Local):
        raise Malformed("[keystore] driver is not local: its keys are kept elsewhere")
    return application.keystore
