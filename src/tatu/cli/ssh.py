"""Logging in."""

import argparse

from tatu.cli.base import Command


class Ssh(Command):
    """Log in to a host with a certificate that is fresh."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say where to, and what else ssh is to be told."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--confirm-sudo",
            action="store_true",
            help="ask by $SSH_ASKPASS each time that sudo there asks for a proof",
        )
        parser.add_argument("target", metavar="[user@]HOST")
        parser.add_argument(
            "arguments", nargs=argparse.REMAINDER, metavar="-- …", help="options of ssh, a command"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Refresh what is due, and become ssh."""
        from tatu.client import forwarding, ready, refresh  # noqa: PLC0415 -- help loads no HTTP

        if parsed_args.confirm_sudo:
            forwarding.check_asking()  # before anything is asked of anybody, or done
        connection = self.connection
        host = parsed_args.target.rpartition("@")[2].lower()
        prepared = refresh.refresh(connection, host)
        if prepared.waits(host):
            self.app.stderr.write(
                f"{host} is admitted but not enrolled yet: it has no certificate to show\n"
            )
        arguments = parsed_args.arguments
        if arguments[:1] == ["--"]:
            arguments = arguments[1:]
        folder = str(connection.state.folder)
        login = ready.login(folder, prepared, parsed_args.target, arguments)
        self.app.stdout.flush()
        ready.become_ssh(login, confirm=parsed_args.confirm_sudo)
