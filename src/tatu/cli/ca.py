"""Authorities."""

import argparse
from datetime import timedelta
from typing import Any

from tatu.cli.base import Lister, ShowOne, add_scope, duration, shown, table
from tatu.core.errors import Malformed

_LIMITS = (
    "user_validity",
    "max_user_validity",
    "host_validity",
    "pam_sudo",
    "extensions",
    "source_addresses",
    "dns_suffix",
)


class CaList(Lister):
    """List the authorities of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say of which projects."""
        return add_scope(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        wanted = self.scope(parsed_args)
        found = [each for each in self.api.authorities() if wanted in (None, each.id)]
        columns = ("id", "name", "created_at", "retired_at")
        return table(columns, self.checked(found, parsed_args))


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


class CaSet(ShowOne):
    """Change an authority's limits; what is not named stays."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose authority, and what changes."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "of", nargs="?", metavar="PROJECT", help="by id or name (default: your own)"
        )
        for name, what in (
            ("user-validity", "user certificates are valid, if their requests do not say"),
            ("max-user-validity", "a request may ask for"),
            ("host-validity", "host certificates are valid"),
        ):
            parser.add_argument(
                f"--{name}", type=duration, metavar="DURATION", help=f"how long {what}"
            )
        parser.add_argument(
            "--pam-sudo",
            action=argparse.BooleanOptionalAction,
            help="whether sudo asks for a proof by the key that opened the session, which"
            " `tatu ssh` gives; otherwise it asks nothing",
        )
        for name, words, metavar, what in (
            ("extension", "extensions", "NAME", "grant this extension, such as permit-pty"),
            ("source-address", "source_addresses", "CIDR", "let certificates in from there"),
        ):
            which = parser.add_mutually_exclusive_group()
            which.add_argument(
                f"--{name}",
                action="append",
                dest=words,
                metavar=metavar,
                help=f"{what}, and no other (may be repeated)",
            )
            which.add_argument(
                f"--no-{name}", action="store_const", const=[], dest=words, help="none of them"
            )
        parser.add_argument(
            "--dns-suffix", metavar="DOMAIN", help="hosts have names inside of it; '' for none"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        given = {name: getattr(parsed_args, name) for name in _LIMITS}
        changes = {
            name: int(value.total_seconds()) if isinstance(value, timedelta) else value
            for name, value in given.items()
            if value is not None
        }
        if not changes:
            raise Malformed("say what to change")
        project = self.project_id(parsed_args.of)
        return _shown(self.api.change_authority(project, changes))


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
