"""Hosts."""

import argparse
from typing import TYPE_CHECKING, Any

from tatu.cli.base import (
    Command,
    Lister,
    ShowOne,
    add_project,
    add_scope,
    attributes,
    shown,
    table,
)

if TYPE_CHECKING:
    from tatu.client.resources import Host

_COLUMNS = (
    "id",
    "names",
    "addresses",
    "state",
    "enrolled_at",
    "renewal_due_at",
    "refused_at",
    "legacy",
)


class HostList(Lister):
    """List the hosts of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say of which projects."""
        return add_scope(super().get_parser(prog_name))

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        wanted = self.scope(parsed_args)
        if wanted is None:
            return table((*_COLUMNS, "authority"), self.api.hosts())
        return table(_COLUMNS, self.checked(self.api.hosts(wanted), parsed_args))


class _OneHost:
    """A command about one host."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.add_argument("host", help="its id")
        return add_project(parser)


class HostShow(_OneHost, ShowOne):
    """Show a host; `refused_at` is when a second key was refused.

    `renewal_due_at` is since when its certificate names something else than it should. From
    `krl_version` on, which is that of the revocations that it obeys, it is what the host says.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        host = self.api.host(self.project_id(parsed_args.project), parsed_args.host)
        names, facts = attributes((*_COLUMNS, "principals", "authority"), host)
        told = _told(host)
        return (
            (*names, "host_keys", *told),
            [
                *facts,
                shown([key.fingerprint for key in host.host_keys]),
                *map(shown, told.values()),
            ],
        )


def _told(host: "Host") -> dict[str, object]:
    """Return what a host told last, each under its name."""
    receipt, report = host.receipt, host.report
    findings = [
        f"{each.level}: {each.about}: {each.detail}"
        for each in (report.findings if report else ())
    ]
    return {
        "krl_version": receipt.krl_version if receipt else None,
        "receipt_at": receipt.received_at if receipt else None,
        "report_at": report.received_at if report else None,
        "agent_version": report.agent_version if report else None,
        "openssh": report.openssh if report else None,
        "os": report.os if report else None,
        "sessions": report.sessions if report else None,
        "findings": findings,
    }


class HostSessions(_OneHost, Lister):
    """List the sessions that were open when the host last reported.

    `user_name` is there when the certificate is one of Tatu's as the host names it; else `alarm`
    says what is wrong.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        found = self.api.sessions(self.project_id(parsed_args.project), parsed_args.host)
        return table(
            ("account", "user_name", "serial", "since", "source", "key_id", "alarm"), found
        )


class HostDelete(_OneHost, Command):
    """End a host: its certificates are revoked, and its names free."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the server."""
        self.check_whole("host delete")
        self.api.delete_host(self.project_id(parsed_args.project), parsed_args.host)
