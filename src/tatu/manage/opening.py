"""What the commands open: the configuration, the ledger, the application; and who does it."""

import argparse
import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from tatu import bootstrap
from tatu.bootstrap import Application
from tatu.config import Config, load
from tatu.core.challenge import FRESH_LIFETIME
from tatu.core.identity import Identity
from tatu.ports import Ledger


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
    opened = bootstrap.open_ledger(config, exclusive=exclusive)
    try:
        yield opened
    finally:
        opened.close()


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
