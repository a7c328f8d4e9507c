"""Host certificates."""

import argparse
from typing import Any

from tatu.cli.base import Lister, table
from tatu.cli.certificates import COLUMNS, ShowCertificate, add_filters, filters


class HostcertList(Lister):
    """List the host certificates that you may see."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = add_filters(super().get_parser(prog_name))
        parser.add_argument("--host", metavar="ID", help="of this host")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return table(COLUMNS, self.api.certificates("host", filters(parsed_args, ("host",))))


class HostcertShow(ShowCertificate):
    """Show a host certificate."""

    type = "host"
    own = ("host",)
