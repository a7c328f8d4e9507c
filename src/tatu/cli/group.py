"""Groups of the embedded directory."""

import argparse
from typing import Any

from tatu.cli import directory
from tatu.cli.base import Command, Lister, table


class GroupList(directory.ListEntries):
    """List the groups."""

    kind = "groups"
    columns = ("id", "name")


class GroupShow(directory.ShowEntry):
    """Show a group."""

    kind = "groups"
    columns = ("id", "name")


class GroupCreate(directory.CreateEntry):
    """Add a group."""

    kind = "groups"
    columns = ("id", "name")


class GroupDelete(directory.DeleteEntry):
    """Delete a group and its assignments."""

    kind = "groups"


class GroupMemberList(Lister):
    """List the users of a group."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which group."""
        parser = super().get_parser(prog_name)
        parser.add_argument("group", help="its id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        group = self.api.entry("groups", parsed_args.group)
        return table(("id", "name", "enabled"), self.api.members(group.id))


class _Membership(Command):
    """A command about one user in one group."""

    member: bool

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say who and where."""
        parser = super().get_parser(prog_name)
        parser.add_argument("group", help="its id or name")
        parser.add_argument("user", help="their id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        group, user = (
            api.entry(f"{noun}s", getattr(parsed_args, noun)) for noun in ("group", "user")
        )
        api.set_member(group.id, user.id, member=self.member)


class GroupMemberAdd(_Membership):
    """Put a user into a group."""

    member = True


class GroupMemberRemove(_Membership):
    """Take a user out of a group; certificates by its roles are revoked."""

    member = False
