"""Which hosts to believe."""

import argparse
from pathlib import Path

from tatu.cli.base import Command


class KnownHosts(Command):
    """Print the known_hosts lines of your project's hosts, or keep them in ssh's file."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say where to."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--install",
            nargs="?",
            const=Path("~/.ssh/known_hosts"),
            type=Path,
            metavar="FILE",
            help="maintain them in this file (default: ~/.ssh/known_hosts)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask for hosts, authorities and revocations; verify; print or write."""
        # help loads no HTTP
        from tatu.client import files, knownhosts, ready, refresh  # noqa: PLC0415

        connection = self.connection
        refresh.trusted(connection)
        text = files.read(connection.state.known_hosts)
        if parsed_args.install is None:
            self.app.stdout.write(text)
        else:
            path = parsed_args.install.expanduser()
            changed = knownhosts.install(path, connection.cloud.name, text)
            self.app.stderr.write(f"{path} {'is changed' if changed else 'is up to date'}\n")
        # these lines alone would believe the host whose key was stolen
        revoked = ready.quoted(str(connection.state.krl))
        self.app.stderr.write(f"for revocations, ssh needs: RevokedHostKeys {revoked}\n")
