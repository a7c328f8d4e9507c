"""Users of the embedded directory, and the keys that they sign in with."""

import argparse
from pathlib import Path
from typing import Any

from tatu.cli import directory
from tatu.cli.base import Command, Lister, ShowOne, attributes, table

_KEY = ("fingerprint", "public_key", "created_at")


class UserList(directory.ListEntries):
    """List the users."""

    kind = "users"


class UserShow(directory.ShowEntry):
    """Show a user."""

    kind = "users"


class UserCreate(directory.CreateEntry):
    """Add a user."""

    kind = "users"


class UserSet(directory.SetEntry):
    """Enable or disable a user; disabling revokes their certificates."""

    kind = "users"


class UserDelete(directory.DeleteEntry):
    """Delete a user with their keys and roles; their certificates are revoked."""

    kind = "users"


class _OfUser:
    """A command about one user's keys."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument("user", help="their id or name")
        return parser


class UserKeyList(_OfUser, Lister):
    """List the keys that a user signs in with."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(_KEY, self.api.user_keys(self.api.entry("users", parsed_args.user).id))


class UserKeyAdd(_OfUser, ShowOne):
    """Let a user sign in with a key."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say with which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("file", type=Path, help="the public key, such as id_ed25519.pub")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server, with a fresh sign-in."""
        from tatu.client import files  # noqa: PLC0415 -- help loads no client
        from tatu.core.keys import PublicKey  # noqa: PLC0415

        # parsed here, so that a private key, given by mistake, does not travel
        key = PublicKey.parse(files.read(parsed_args.file))
        api = self.administering()
        return attributes(
            _KEY, api.add_user_key(api.entry("users", parsed_args.user).id, key.line)
        )


class UserKeyRemove(_OfUser, Command):
    """Take a key away from a user."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("fingerprint", help="SHA256:…")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server, with a fresh sign-in."""
        api = self.administering()
        api.remove_user_key(api.entry("users", parsed_args.user).id, parsed_args.fingerprint)
