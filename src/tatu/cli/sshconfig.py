"""Plain ssh with certificates."""

import argparse

from tatu.cli.base import Command


class SshConfig(Command):
    """Write an ssh_config for your project's hosts, so that plain ssh, scp and git work."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say whether ssh's own configuration may be changed."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--install", action="store_true", help="include it at the top of ~/.ssh/config"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Refresh what is due, and write the file."""
        from tatu.client import knownhosts, refresh, sshconfig  # noqa: PLC0415

        connection = self.connection
        refresh.refresh(connection)
        hosts, suffix = refresh.trusted(connection)
        patterns = knownhosts.patterns(hosts, suffix)
        text = sshconfig.text(connection.cloud, hosts, patterns, connection.refresher)
        path = sshconfig.write(connection.cloud, patterns, text)
        self.app.stderr.write(f"{path} is written\n")
        if not parsed_args.install:
            self.app.stderr.write("put this at the top of ~/.ssh/config, or give --install:\n")
            self.app.stdout.write(f"{sshconfig.INCLUDE}\n")
        elif sshconfig.install():
            self.app.stderr.write("~/.ssh/config includes it now\n")


class SshConfigRefresh(Command):
    """Refresh what ssh is about to use: run by ssh itself."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Refresh what is due; never asks for anything without a terminal."""
        from tatu.client import refresh  # noqa: PLC0415

        refresh.refresh(self.connection)
