"""What projects, users and groups of the embedded directory have in common."""

import argparse
from typing import Any, ClassVar

from tatu.cli.base import Command, Lister, ShowOne, attributes, table


class _OfKind:
    """A command about one kind of entry: `kind` is its plural, as it stands in the API's paths."""

    kind: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("id", "name", "enabled")


class ListEntries(_OfKind, Lister):
    """List the entries."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(self.columns, self.api.entries(self.kind))


class CreateEntry(_OfKind, ShowOne):
    """Add an entry."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what it is called."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name")
        parser.add_argument("--id", help="(default: a random one)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        return attributes(
            self.columns, api.create_entry(self.kind, parsed_args.name, parsed_args.id)
        )


class _OneEntry(_OfKind):
    """A command about one entry."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument(self.kind.removesuffix("s"), help="its id or name")
        return parser

    def named(self, args: argparse.Namespace) -> str:
        """Return what was named."""
        return str(getattr(args, self.kind.removesuffix("s")))


class ShowEntry(_OneEntry, ShowOne):
    """Show an entry."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return attributes(self.columns, self.api.entry(self.kind, self.named(parsed_args)))


class SetEntry(_OneEntry, ShowOne):
    """Enable or disable an entry."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which of the two."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--enable", dest="enabled", action="store_true")
        which.add_argument("--disable", dest="enabled", action="store_false")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        found = api.entry(self.kind, self.named(parsed_args))
        return attributes(
            self.columns, api.enable_entry(self.kind, found.id, enabled=parsed_args.enabled)
        )


class DeleteEntry(_OneEntry, Command):
    """Delete an entry."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        api.delete_entry(self.kind, api.entry(self.kind, self.named(parsed_args)).id)
