"""Authorities."""

import argparse
from typing import Any

from tatu.cli.base import Lister, ShowOne, shown, table


class CaList(Lister):
    """List the authorities that you may see."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(("id", "name", "created_at"), self.api.authorities())


class CaShow(ShowOne):
    """Show an authority: its limits and its keys."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose authority."""
        parser = super().get_parser(prog_name)
        parser.add_argument("authority", nargs="?", help="its id (default: your project's)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return _shown(self.api.authority(self.own_or(parsed_args.authority)))


class CaCreate(ShowOne):
    """Make the authority of a project."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose authority."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group()
        which.add_argument("of", nargs="?", metavar="PROJECT", help="(default: your own project)")
        which.add_argument("--project", metavar="ID", help="the same, as an option")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return _shown(self.api.create_authority(parsed_args.of or parsed_args.project))


def _shown(authority: Any) -> tuple[tuple[str, ...], list[object]]:
    keys = [f"{key.purpose} {key.state} {key.fingerprint}" for key in authority.keys]
    profile = authority.profile
    names = (
        "id",
        "name",
        *(str(shown(part)) for part in profile),
        "keys",
        "created_at",
        "revision",
    )
    facts = (
        authority.id,
        authority.name,
        *profile.values(),
        keys,
        authority.created_at,
        authority.revision,
    )
    return names, [shown(fact) for fact in facts]
