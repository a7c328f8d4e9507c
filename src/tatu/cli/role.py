"""Roles of the embedded directory, and who has them where."""

import argparse
from typing import Any

from tatu.cli.base import Command, Lister, ShowOne, attributes, table

_COLUMNS = ("id", "name", "account", "refusal")


class RoleList(Lister):
    """List the roles, and which account each opens or why it opens none."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(_COLUMNS, self.api.roles())


class RoleShow(ShowOne):
    """Show a role."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("role", help="its id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return attributes(_COLUMNS, self.api.role(parsed_args.role))


class RoleCreate(ShowOne):
    """Add a role."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say what it is called."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name")
        parser.add_argument("--id", help="(default: a random one)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        return attributes(_COLUMNS, api.create_role(parsed_args.name, parsed_args.id))


class RoleDelete(Command):
    """Delete a role; certificates by it are revoked."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("role", help="its id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        api.delete_entry("roles", api.role(parsed_args.role).id)


class _Assigned(Command):
    """A command about a role of a user or group in a project."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose, and where."""
        parser = super().get_parser(prog_name)
        parser.add_argument("role", help="its id or name")
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--user", metavar="NAME")
        whose.add_argument("--group", metavar="NAME")
        parser.add_argument("--project", metavar="NAME", required=True)
        return parser

    def assignment(self, api: Any, args: argparse.Namespace) -> dict[str, str]:
        """Return the assignment by ids."""
        noun = "user" if args.user else "group"
        return {
            "role": api.role(args.role).id,
            "project": api.entry("projects", args.project).id,
            noun: api.entry(f"{noun}s", getattr(args, noun)).id,
        }


class RoleAdd(_Assigned):
    """Give a role in a project to a user or a group."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        api.assign(self.assignment(api, parsed_args))


class RoleRemove(_Assigned):
    """Take a role in a project away; certificates by it are revoked."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        api.unassign(self.assignment(api, parsed_args))
