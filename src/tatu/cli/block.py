"""Blocks: who and what gets no new certificate."""

import argparse
from typing import Any

from tatu.cli.base import Command, Lister, add_project, table


class _OfAuthority:
    """A command about the blocks of one authority."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whose."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        return add_project(parser)


class BlockList(_OfAuthority, Lister):
    """List the users, keys and hosts that get no new certificate."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        columns = ("id", "kind", "value", "reason", "by", "at")
        return table(columns, self.api.blocks(self.project_id(parsed_args.project)))


class BlockClear(_OfAuthority, Command):
    """Let a user, key or host have certificates again; what was revoked stays so."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("block", type=int, help="its id, from `block list`")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server."""
        self.api.clear_block(self.project_id(parsed_args.project), parsed_args.block)
