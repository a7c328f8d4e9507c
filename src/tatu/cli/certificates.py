"""What user and host certificates have in common on the command line."""

import argparse
from typing import Any, ClassVar

from tatu.cli.base import ShowOne, add_project, add_scope, attributes

COLUMNS = (
    "serial",
    "key_id",
    "principals",
    "valid_after",
    "valid_before",
    "subject_key",
    "revoked_at",
    "revoked_reason",
)


def add_filters(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the filters of both lists."""
    add_scope(parser)
    parser.add_argument("--subject-key", metavar="FINGERPRINT", help="for this key")
    parser.add_argument(
        "--live", action="store_const", const="true", help="only those valid and not revoked"
    )
    parser.add_argument("--revoked", action="store_const", const="true", help="only the revoked")
    return parser


def filters(args: argparse.Namespace, **more: str | None) -> dict[str, str]:
    """Return the filters that were given, and these."""
    given = {name: getattr(args, name) for name in ("subject_key", "live", "revoked")}
    return {name: value for name, value in (given | more).items() if value is not None}


class ShowCertificate(ShowOne):
    """Show a certificate of one type, with what only that type has: its `own` columns."""

    type: ClassVar[str]
    own: ClassVar[tuple[str, ...]]

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = super().get_parser(prog_name)
        parser.add_argument("serial", type=int)
        return add_project(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        authority = self.project_id(parsed_args.project)
        found = self.api.certificate(self.type, authority, parsed_args.serial)
        return attributes((*COLUMNS, "signature_key", *self.own, "certificate"), found)
