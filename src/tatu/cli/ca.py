"""Authorities."""

import argparse
from typing import Any

from tatu.cli.base import Lister, ShowOne, add_scope, shown, table


class CaList(Lister):
    """List the authorities of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say of which projects."""
        return add_scope(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        wanted = self.scope(parsed_args)
        found = [each for each in self.api.authorities() if wanted in (None, each.id)]
        return table(("id", "name", "created_at", "retired_at"), found)


class CaShow(ShowOne):
    """Show an authority: its limits and its keys."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose authority."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "of", nargs="?", metavar="PROJECT", help="by id or name (default: your own)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return _shown(self.api.authority(self.project_id(parsed_args.of)))


class CaCreate(ShowOne):
    """Make the authority of a project."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose authority."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "of", nargs="?", metavar="PROJECT", help="by id or name (default: your own)"
        )
        which.add_argument("--project", metavar="PROJECT", help="the same, as an option")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        project = self.project_id(parsed_args.of or parsed_args.project)
        return _shown(self.api.create_authority(project))


def _shown(authority: Any) -> tuple[tuple[str, ...], list[object]]:
    keys = [f"{key.purpose} {key.state} {key.fingerprint}" for key in authority.keys]
    profile = authority.profile
    names = (
        "id",
        "name",
        *(str(shown(part)) for part in profile),
        "keys",
        "created_at",
        "retired_at",
        "revision",
    )
    facts = (
        authority.id,
        authority.name,
        *profile.values(),
        keys,
        authority.created_at,
        authority.retired_at,
        authority.revision,
    )
    return names, [shown(fact) for fact in facts]
