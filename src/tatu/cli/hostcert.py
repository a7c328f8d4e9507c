"""Host certificates."""

import argparse
from typing import Any

from tatu.cli.admission import add_host, host_facts
from tatu.cli.base import Lister, table
from tatu.cli.certificates import COLUMNS, ShowCertificate, add_filters, filters


class HostcertList(Lister):
    """List the host certificates of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = add_filters(super().get_parser(prog_name))
        parser.add_argument("--host", metavar="ID", help="of this host")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        asked = filters(parsed_args, authority=self.scope(parsed_args), host=parsed_args.host)
        found = self.api.certificates("host", asked)
        return table(COLUMNS, self.checked(found, parsed_args))


class HostcertCreate(Lister):
    """Certify the keys of a host that you make here: the certificates are put beside them.

    Admits the host and enrols it in one step. What runs on a host of its own has `token create`.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which host, and its keys."""
        parser = add_host(super().get_parser(prog_name))
        parser.add_argument(
            "--key",
            action="append",
            required=True,
            metavar="FILE",
            help="a private host key, such as ssh_host_ed25519_key (may be repeated)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Prove the keys, check what comes back, and write it beside them."""
        from tatu.client import hostkeys, refresh  # noqa: PLC0415 -- help loads no HTTP

        made = hostkeys.certify(self.connection, host_facts(parsed_args), parsed_args.key)
        refresh.expect_host(self.connection)
        columns = ("serial", "key_id", "principals", "valid_after", "valid_before")
        names, rows = table(columns, (certificate.contents for _, certificate in made))
        facts = zip(rows, made, strict=True)
        return (*names, "file"), [(*row, str(file)) for row, (file, _) in facts]


class HostcertShow(ShowCertificate):
    """Show a host certificate."""

    type = "host"
    own = ("host",)
