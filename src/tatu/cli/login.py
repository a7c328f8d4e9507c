"""Logins, as hosts told of them."""

import argparse
from datetime import datetime
from typing import Any

from tatu.cli.base import Lister, add_scope, table
from tatu.core.claims import LoginKind

_COLUMNS = (
    "at",
    "host",
    "account",
    "kind",
    "serial",
    "user_name",
    "source",
    "detail",
    "alarm",
)


class LoginList(Lister):
    """List logins in the order in which hosts' reports arrived, the last first.

    They are your own, or the project's. `at` is by the host's clock, and need not be in order.
    `user_name` is there when the certificate is one of Tatu's as the host names it; `alarm` says
    what is wrong with one that let somebody in and is not, or was revoked before; `detail` is what
    the host says of it, such as why it refused or ended.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = add_scope(super().get_parser(prog_name))
        parser.add_argument("--host", metavar="HOST", help="to this host, by its id")
        parser.add_argument("--account", help="to this account")
        parser.add_argument("--serial", type=int, help="by this certificate")
        parser.add_argument("--kind", choices=[str(kind) for kind in LoginKind])
        parser.add_argument(
            "--after", type=_time, metavar="TIME", help="after this time, as 2026-01-31T12:00:00Z"
        )
        parser.add_argument(
            "--alarm", action="store_const", const="true", help="only those that are alarms"
        )
        parser.add_argument(
            "--limit", type=int, default=100, metavar="N", help="at most so many (default: 100)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        authority = self.scope(parsed_args)
        given = {
            name: getattr(parsed_args, name)
            for name in ("host", "account", "serial", "kind", "after", "alarm", "limit")
        }
        asked = {"authority": authority, **given}
        found = self.api.logins(
            {name: str(value) for name, value in asked.items() if value is not None}
        )
        columns = _COLUMNS if authority else (*_COLUMNS, "authority")
        return table(columns, self.checked(found, parsed_args))


def _time(text: str) -> str:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, as in 2026-01-31T12:00:00Z")
    return parsed.isoformat()
