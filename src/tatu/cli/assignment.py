"""Who has which role where."""

import argparse
from typing import Any

from tatu.cli.base import Lister, table


class AssignmentList(Lister):
    """List which roles users and groups have in projects."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose, or where."""
        parser = super().get_parser(prog_name)
        for noun in ("project", "user", "group"):
            parser.add_argument(f"--{noun}", metavar="NAME", help="its id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        filters = {
            noun: self.api.entry(f"{noun}s", name).id
            for noun in ("project", "user", "group")
            if (name := getattr(parsed_args, noun)) is not None
        }
        return table(("project", "role", "user", "group"), self.api.assignments(filters))
