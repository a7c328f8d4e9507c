"""Enrolment tokens."""

import argparse
from collections.abc import Sequence
from typing import Any

from tatu.cli.admission import add_host, host_facts
from tatu.cli.base import ShowOne, add_project, duration, shown
from tatu.core.errors import Conflict, NotFound


class TokenCreate(ShowOne):
    """Admit a host and make its enrolment token, which is shown this once.

    A host that is admitted again keeps the names and addresses that are not given. One that is
    enrolled needs `--again`: its enrolment ends at once, and until it redeems the new token its
    agent hears of no revocation.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say for which host."""
        parser = add_host(super().get_parser(prog_name))
        parser.add_argument("--validity", type=duration, help="how long it may enrol: 90, 30m, 8h")
        parser.add_argument(
            "--again", action="store_true", help="end the enrolment of a host that is enrolled"
        )
        return add_project(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        from tatu.client import refresh  # noqa: PLC0415

        asked = parsed_args
        facts = host_facts(asked)
        if asked.validity:
            facts["validity"] = int(asked.validity.total_seconds())
        project = self.project_id(asked.project)
        if not asked.again:
            self._check_not_enrolled(project, asked.host)
        made = self.api.create_enrolment_token(project, facts)
        if self.is_own(project):
            refresh.expect_host(self.connection)
        names = ("host", "principals", "expires_at", "token")
        values = (made.host.id, made.host.principals, made.expires_at, made.token)
        return names, [shown(value) for value in values]

    def _check_not_enrolled(self, project: str, host: str) -> None:
        try:
            found = self.api.host(project, host)
        except NotFound:
            return
        if found.state == "enrolled":
            raise Conflict(
                f"host {host!r} is enrolled: a token ends that at once, and it obeys no revocation"
                " until it enrols by the token; `--again` does it"
            )

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
