"""`tatu-manage check`: whether everything is as it should be."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress

from tatu.bootstrap import Application
from tatu.config import Config
from tatu.core.errors import TatuError, Unavailable
from tatu.manage import opening


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    """Ask every part; a line for each, and 1 when one fails."""
    with opening.application(parsed) as application:
        config = application.config
        print(f"configuration  ok ({config.api_endpoint})")
        failed = 0
        for name, check in _checks(application, config):
            try:
                check()
            except TatuError as error:
                failed += 1
                print(f"{name:<14} FAILED: {error}")
            else:
                print(f"{name:<14} ok")
        for warning in _warnings(application, config):
            print(f"warning: {warning}")
    return int(failed > 0)


def _checks(application: Application, config: Config) -> Iterator[tuple[str, Callable[[], None]]]:
    drivers = {
        "keystore": config.keystore_driver,
        "identity": config.identity_driver,
        "inventory": config.inventory_driver,
        "events": config.events_driver,
    }
    for name, check in {**application.checks, "events": application.events.check}.items():
        yield f"{name} ({drivers[name]})" if name in drivers else name, check
    if config.database.synchronous_standbys:
        yield "standbys", application.check_standbys
    yield "audit key", lambda: _check_audit(application)


def _check_audit(application: Application) -> None:
    signed = application.checkpoints.sign()
    if signed.checkpoint.deployment != application.deployment:
        raise Unavailable("checkpoints are signed for another deployment")


def _warnings(application: Application, config: Config) -> Iterator[str]:
    yield from config.warnings
    with suppress(Unavailable):  # the check of the identities has said so
        for domain in application.out_of_sight():
            yield (
                f"instances of the domain {domain!r} cannot enrol: run `tatu-manage openstack"
                " register` again"
            )
    if config.api_endpoint.startswith("http://"):
        yield "[DEFAULT] api_endpoint is http: fit for this machine only"
