"""What the commands open: the configuration, the ledger, the application; and who does it."""

import argparse
import getpass
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tatu import bootstrap
from tatu.bootstrap import Application
from tatu.config import Config, load
from tatu.core.challenge import FRESH_LIFETIME
from tatu.core.errors import Unavailable
from tatu.core.identity import Identity
from tatu.ports import Ledger

_AS_THE_SERVICE = (
    "systemd-run --pty --wait --collect --quiet -p User={user} -p LoadCredential=kek:/etc/tatu/kek"
    " tatu-manage …"
)


def configuration(parsed: argparse.Namespace) -> Config:
    """Read the configuration that the command line names. Raises `Malformed`."""
    arguments = [f"--config-file={name}" for name in parsed.config_file]
    arguments += [f"--config-dir={name}" for name in parsed.config_dir]
    config = load(arguments)
    bootstrap.check_config(config)
    return config


@contextmanager
def ledger(config: Config, *, exclusive: bool = False) -> Iterator[Ledger]:
    """Open the ledger for as long as the block lasts."""
    with as_the_service(config):
        opened = bootstrap.open_ledger(config, exclusive=exclusive)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def as_the_service(config: Config) -> Iterator[None]:
    """Say with what fails in the block that the files are another user's, and what to do then."""
    try:
        yield
    except Unavailable as error:
        if advice := _advice(config.state_directory):
            raise Unavailable(f"{error}\n{advice}") from error
        raise


def _advice(folder: Path) -> str:
    """Return what to do where the service's folder is not ours, else nothing."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return ""
    if owner == os.geteuid():
        return ""
    user = _name(owner)
    return (
        f"this runs as {_name(os.geteuid())}, but {folder} is {user}'s: run it as the service is,"
        f" with its user and its key: `{_AS_THE_SERVICE.format(user=user)}`; where the key is no"
        f" systemd credential: `runuser -u {user} -- tatu-manage …`"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def application(parsed: argparse.Namespace) -> Iterator[Application]:
    """Open everything but HTTP for as long as the block lasts."""
    config = configuration(parsed)
    with ledger(config) as opened:
        yield bootstrap.build(config, opened)


def operator(application: Application, project: str | None = None) -> Identity:
    """Return who the audit chain shall name: whoever may run this may do all of it."""
    now, name = application.clock(), getpass.getuser()
    return Identity(
        issuer="operator",
        subject=name,
        name=name,
        project=project,
        roles=frozenset(),
        mark=application.ledger.cut_offs.mark(),
        validated_at=now,
        expires_at=now + FRESH_LIFETIME,
        fresh=True,
    )
