"""Certificate files, whoever made them; asks nobody."""

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

from tatu.cli.base import Lister, duration

_DAY = timedelta(days=1)


class CertLint(Lister):
    """Say what is wrong with a certificate file; exit status 1 when anything is."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which file, and the limits of the deployment."""
        parser = super().get_parser(prog_name)
        parser.add_argument("file", type=Path, help="as ssh has it, such as id_ed25519-cert.pub")
        parser.add_argument("--max-user-validity", type=duration, default=_DAY, metavar="DURATION")
        parser.add_argument(
            "--max-host-validity", type=duration, default=30 * _DAY, metavar="DURATION"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Read the file and judge it."""
        from tatu.client import files  # noqa: PLC0415 -- completion and help wait for none of it
        from tatu.core.accounts import RESERVED_ACCOUNTS  # noqa: PLC0415
        from tatu.core.certificate import Certificate  # noqa: PLC0415
        from tatu.core.errors import Malformed  # noqa: PLC0415
        from tatu.core.lint import Finding, Limits, findings  # noqa: PLC0415

        limits = Limits(
            max_user_validity=parsed_args.max_user_validity,
            max_host_validity=parsed_args.max_host_validity,
            reserved=RESERVED_ACCOUNTS,
        )
        text = files.read(parsed_args.file)
        try:
            found = findings(Certificate.parse(text), limits)
        except Malformed as error:
            found = (Finding("malformed", str(error)),)
        self._found = bool(found)
        if not found:
            self.app.stderr.write(f"nothing is wrong with {parsed_args.file}\n")
        return ("code", "text"), [(finding.code, finding.text) for finding in found]

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Return 1 when anything was found."""
        return super().run(parsed_args) or int(self._found)
