"""Enrolment tokens."""

import argparse
from collections.abc import Sequence
from typing import Any

from tatu.cli.admission import add_host, host_facts
from tatu.cli.base import ShowOne, add_project, duration, shown


class TokenCreate(ShowOne):
    """Admit a host and make its enrolment token, which is shown this once.

    A host that is admitted again keeps the names and addresses that are not given.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say for which host."""
        parser = add_host(super().get_parser(prog_name))
        parser.add_argument("--validity", type=duration, help="how long it may enrol: 90, 30m, 8h")
        return add_project(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        from tatu.client import refresh  # noqa: PLC0415

        asked = parsed_args
        facts = host_facts(asked)
        if asked.validity:
            facts["validity"] = int(asked.validity.total_seconds())
        project = self.project_id(asked.project)
        made = self.api.create_enrolment_token(project, facts)
        if self.is_own(project):
            refresh.expect_host(self.connection)
        names = ("host", "principals", "expires_at", "token")
        values = (made.host.id, made.host.principals, made.expires_at, made.token)
        return names, [shown(value) for value in values]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """Show a person the token on a line of its own: a table would break it."""
        for_a_person = parsed_args.formatter == "table" and self.app.stdout.isatty()
        if not for_a_person or parsed_args.columns:
            return int(super().produce_output(parsed_args, column_names, data))
        *facts, token = data
        status = super().produce_output(parsed_args, column_names[:-1], facts)
        self.app.stdout.write(f"{token}\n")
        return int(status)
