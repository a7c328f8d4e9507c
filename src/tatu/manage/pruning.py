"""`tatu-manage db prune`: what an operator may have removed from the ledger."""

import argparse
import getpass
from datetime import timedelta

from tatu import bootstrap
from tatu.core.audit import Actor, Event
from tatu.core.errors import Malformed
from tatu.manage import opening


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.add_argument(
        "--older-than", type=int, required=True, metavar="DAYS", help="what ended so long ago"
    )
    parser.add_argument(
        "--certificates",
        action="store_true",
        help="expired certificates too: export the audit chain first, which tells of them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count")
    parser.set_defaults(run=_prune)


def _prune(parsed: argparse.Namespace) -> None:
    now, name = bootstrap.now(), getpass.getuser()
    try:
        before = now - timedelta(days=parsed.older_than)
    except OverflowError:
        raise Malformed("that is before all time") from None
    event = Event(
        action="ledger.pruned",
        actor=Actor(kind="user", issuer="operator", id=name, name=name),
        authority=None,
        subject="ledger",
        at=now,
        facts={"before": before.isoformat()},
    )
    with opening.ledger(opening.configuration(parsed)) as ledger:
        removed = ledger.prune(
            before, event, certificates=parsed.certificates, dry_run=parsed.dry_run
        )
    for kind, count in removed.items():
        print(f"{kind}: {count} {'to remove' if parsed.dry_run else 'removed'}")
