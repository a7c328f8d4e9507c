"""`tatu-manage check`: whether everything is as it should be."""

import argparse
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

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
    if tls := config.api.tls:
        yield "TLS", lambda: check_tls(*tls)
    yield "audit key", lambda: _check_audit(application)


def _check_audit(application: Application) -> None:
    signed = application.checkpoints.sign()
    if signed.checkpoint.deployment != application.deployment:
        raise Unavailable("checkpoints are signed for another deployment")


def check_tls(certificate: Path, key: Path) -> None:
    """Raise `Unavailable` unless we may read both files, and they belong together."""
    for file in (certificate, key):
        try:
            file.open("rb").close()
        except OSError as error:
            raise Unavailable(
                f"{file} cannot be read by user id {os.geteuid()}: {error.strerror}"
            ) from error
    try:
        # without a passphrase nobody is asked for one
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise Unavailable(
            f"{certificate} and {key} are no certificate and its key: {error}"
        ) from error


def _warnings(application: Application, config: Config) -> Iterator[str]:
    yield from config.warnings
    with suppress(Unavailable):  # the check of the identities has said so
        for domain in application.out_of_sight():
            yield (
                f"instances of the domain {domain!r} cannot enrol: run `tatu-manage openstack"
                " register` again"
            )
    if config.api.tls and os.geteuid() == 0:
        yield "root may read the TLS files: run this as the service's user, to see whether it may"
    if config.api_endpoint.startswith("http://"):
        yield "[DEFAULT] api_endpoint is http: fit for this machine only"
