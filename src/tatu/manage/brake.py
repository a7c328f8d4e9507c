"""`tatu-manage brake`: losses that were inferred, too many at once to be believed (S22)."""

import argparse
from collections.abc import Sequence

from tatu import bootstrap
from tatu.manage import opening
from tatu.ports import Held
from tatu.service.reconcile import Reconciliation


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, does in (
        ("list", _list, "show what is held, and since when"),
        ("apply", _apply, "believe it: end it now"),
        ("release", _release, "do not: let it go; the next comparison may find it again"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument(
            "--authority", metavar="ID", help="only what is held of this authority"
        )
        command.set_defaults(run=run)


def _list(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        found = _held(bootstrap.reconciliation(application), parsed.authority)
    for held in found:
        since = held.since.isoformat(timespec="seconds")
        print(f"{since} {held.authority} {held.kind} {held.value}")
    print(f"{len(found)} held")


def _apply(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        reconciliation = bootstrap.reconciliation(application)
        found = _held(reconciliation, parsed.authority)
        revoked = reconciliation.apply(found, opening.operator(application))
    print(f"{len(found)} applied, {revoked} certificates revoked")


def _release(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        reconciliation = bootstrap.reconciliation(application)
        found = _held(reconciliation, parsed.authority)
        reconciliation.release(found, opening.operator(application))
    print(f"{len(found)} released")


def _held(reconciliation: Reconciliation, authority: str | None) -> Sequence[Held]:
    return [held for held in reconciliation.held() if authority in (None, held.authority)]
