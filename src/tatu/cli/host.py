"""Hosts."""

import argparse
from typing import Any

from tatu.cli.base import (
    Command,
    Lister,
    ShowOne,
    add_project,
    add_scope,
    attributes,
    shown,
    table,
)

_COLUMNS = (
    "id",
    "names",
    "addresses",
    "state",
    "enrolled_at",
    "renewal_due_at",
    "refused_at",
    "legacy",
)


class HostList(Lister):
    """List the hosts of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say of which projects."""
        return add_scope(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        wanted = self.scope(parsed_args)
        if wanted is None:
            return table((*_COLUMNS, "authority"), self.api.hosts())
        return table(_COLUMNS, self.api.hosts(wanted))


class _OneHost:
    """A command about one host."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument("host", help="its id")
        return add_project(parser)


class HostShow(_OneHost, ShowOne):
    """Show a host; `refused_at` is when a second key was refused.

    `renewal_due_at` is since when its certificate names something else than it should.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        host = self.api.host(self.project_id(parsed_args.project), parsed_args.host)
        names, facts = attributes((*_COLUMNS, "principals", "authority"), host)
        return (*names, "host_keys"), [*facts, shown([key.fingerprint for key in host.host_keys])]


class HostDelete(_OneHost, Command):
    """End a host: its certificates are revoked, and its names free."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server."""
        self.api.delete_host(self.project_id(parsed_args.project), parsed_args.host)
