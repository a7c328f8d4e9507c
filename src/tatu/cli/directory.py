"""What projects, users and groups of the embedded directory have in common."""

import argparse
from typing import Any, ClassVar

from tatu.cli.base import Command, Lister, ShowOne, one, table


class _Noun:
    """A command about one kind of thing."""

    nouns: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ("id", "name", "enabled")


class ListThings(_Noun, Lister):
    """List things."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(self.columns, self.api.things(self.nouns))


class CreateThing(_Noun, ShowOne):
    """Add a thing."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what it is called."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name")
        parser.add_argument("--id", help="(default: a random one)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        api = self.connection.administering()
        return one(self.columns, api.create_thing(self.nouns, parsed_args.name, parsed_args.id))


class _One(_Noun):
    """A command about one thing."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument(self.nouns.removesuffix("s"), help="its id or name")
        return parser

    def named(self, args: argparse.Namespace) -> str:
        """Return what was named."""
        return str(getattr(args, self.nouns.removesuffix("s")))


class ShowThing(_One, ShowOne):
    """Show a thing."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return one(self.columns, self.api.thing(self.nouns, self.named(parsed_args)))


class SetThing(_One, ShowOne):
    """Enable or disable a thing."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which of the two."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--enable", dest="enabled", action="store_true")
        which.add_argument("--disable", dest="enabled", action="store_false")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        api = self.connection.administering()
        found = api.thing(self.nouns, self.named(parsed_args))
        return one(
            self.columns, api.enable_thing(self.nouns, found.id, enabled=parsed_args.enabled)
        )


class DeleteThing(_One, Command):
    """Delete a thing."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.connection.administering()
        api.delete_thing(self.nouns, api.thing(self.nouns, self.named(parsed_args)).id)
