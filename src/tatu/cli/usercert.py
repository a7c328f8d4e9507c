"""User certificates."""

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from tatu.cli.base import Lister, ShowOne, add_project, attributes, duration, shown, table
from tatu.cli.certificates import COLUMNS, ShowCertificate, add_filters, filters
from tatu.cli.waiting import Wait
from tatu.core.errors import Malformed, NotFound

_CREATED = (
    "serial",
    "key_id",
    "principals",
    "valid_after",
    "valid_before",
    "subject_key",
    "signature_key",
)


class UsercertCreate(ShowOne):
    """Get a user certificate, for a key of its own or for one of yours."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say for which key, and how narrow."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "key",
            nargs="?",
            help="certify this public key: a file, whose private half is in ssh-agent or beside"
            " it; `-` or its text, when that is in ssh-agent (default: a key of its own)",
        )
        which.add_argument("--public-key", metavar="FILE", dest="file", help="the same, a file")
        parser.add_argument(
            "--principal",
            action="append",
            metavar="ACCOUNT",
            help="only this account (may be repeated; default: all that your roles open)",
        )
        parser.add_argument("--validity", type=duration, help="how long: 90, 30m, 8h, 1d")
        parser.add_argument(
            "--force-command", metavar="COMMAND", help="the one command it may run"
        )
        parser.add_argument(
            "--source-address",
            action="append",
            metavar="CIDR",
            help="only from there (may be repeated)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Prove the key, check what comes back, and write it where ssh looks for it."""
        from tatu.client import certify, refresh  # noqa: PLC0415 -- help loads no HTTP

        asked = parsed_args
        fields: dict[str, object] = {
            "principals": frozenset(asked.principal) if asked.principal else None,
            "validity": asked.validity,
            "force_command": asked.force_command,
            "source_addresses": tuple(asked.source_address) if asked.source_address else None,
        }
        key = asked.file or asked.key
        where: Path | None = None
        _ = self.api  # a cloud without Tatu is another matter than a project without authority
        try:
            if key is None:
                _, answer = refresh.renew(self.connection, fields)
                where = self.connection.state.certificate
            elif asked.file is None and (line := _line(key)):
                answer = certify.certify_line(self.connection, line, fields)
            else:
                where, answer = certify.certify_file(self.connection, Path(key), fields)
        except NotFound as error:
            making = f"{self.app.NAME} {(self.cmd_name or '').replace('usercert', 'ca')}"
            raise NotFound(f"{error}; a manager makes it: `{making}`") from error
        for left_out in answer.left_out:
            self.app.stderr.write(f"role {left_out.role} is left out: {left_out.reason}\n")
        names, facts = attributes(_CREATED, answer)
        if where is None:
            return (*names, "certificate"), [*facts, shown(answer.certificate)]
        return (*names, "file"), [*facts, str(where)]


def _line(key: str) -> str | None:
    """Return the public key's text, or None when a file was named."""
    if key == "-":
        return sys.stdin.readline()
    return key if key.startswith(("ssh-", "ecdsa-", "sk-")) and " " in key else None


class UsercertList(Lister):
    """List the user certificates that you may see of your project, or of all."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which."""
        parser = add_filters(super().get_parser(prog_name))
        parser.add_argument("--user", metavar="USER", help="of this user, by id or name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        user = parsed_args.user
        asked = filters(
            parsed_args,
            authority=self.scope(parsed_args),
            subject=None if user is None else self.user_id(user),
        )
        found = self.api.certificates("user", asked)
        return table(COLUMNS, self.checked(found, parsed_args))


class UsercertShow(ShowCertificate):
    """Show a user certificate."""

    type = "user"
    own = ("issuer", "subject", "user_name")


class UsercertRevoke(ShowOne):
    """Revoke user certificates: hosts refuse them within seconds.

    `--everything` revokes the certificates of the project's hosts as well: they must be renewed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Say which, and why."""
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("serial", nargs="?", type=int, help="one certificate")
        which.add_argument(
            "--subject-key", metavar="FINGERPRINT", help="all certificates for this key"
        )
        which.add_argument(
            "--user", metavar="USER", help="all certificates of this user, by id or name"
        )
        which.add_argument(
            "--everything",
            action="store_true",
            help="all of the project, of its hosts too, which must be renewed then; asks first",
        )
        parser.add_argument("--yes", action="store_true", help="ask nothing")
        parser.add_argument("--reason", default="not given")
        parser.add_argument(
            "--block",
            action=argparse.BooleanOptionalAction,
            help="give the user or key no new certificate until an administrator clears the block"
            " (default: of a user, when you manage the project; of a key, when you administer)",
        )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="until all hosts have shown to refuse it; name those that have not, and fail",
        )
        parser.add_argument(
            "--timeout",
            type=duration,
            default=timedelta(minutes=1),
            metavar="DURATION",
            help="how long to wait (default: 1m)",
        )
        return add_project(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        self.check_whole("usercert revoke")
        asked = parsed_args
        authority = self.project_id(asked.project)
        if asked.serial is not None:
            self._check_users(authority, asked.serial)
        if asked.everything and not asked.yes:
            self._confirm(authority)
        begun = time.monotonic()
        named = {name: getattr(asked, name) for name in ("serial", "subject_key", "user")}
        selector = {name: value for name, value in named.items() if value is not None}
        if asked.user is not None:
            selector["user"] = self.user_id(asked.user)
        if asked.everything:
            selector["everything"] = True
        result = self.api.revoke(authority, selector, asked.reason, block=asked.block)
        if self.is_own(authority):
            self.connection.state.drop(result.revoked)
        if asked.serial is not None and not asked.block:
            self.app.stderr.write(
                "the user can still get another certificate:"
                " `usercert revoke --user NAME --block` prevents it\n"
            )
        if asked.wait:
            wait = Wait(api=self.api, authority=authority, begun=begun, told=self.app.stderr)
            self._waited_in_vain = not wait.until(result.krl_version, asked.timeout)
        return attributes(("revoked", "krl_version"), result)

    def _check_users(self, authority: str, serial: int) -> None:
        """Refuse a serial that is no user's: hosts' count by the same numbers."""
        try:
            self.api.certificate("user", authority, serial)
        except NotFound as error:
            try:
                host = self.api.certificate("host", authority, serial).host
            except NotFound:
                raise error from None
            raise Malformed(
                f"certificate {serial} is host {shown(host)}'s (`hostcert show {serial}`):"
                " `host delete` ends a host and its certificates"
            ) from None

    def _confirm(self, authority: str) -> None:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise Malformed("--everything needs --yes where nobody can be asked")
        self.app.stderr.write(
            f"All certificates of project {authority} end, its hosts' too, which must be renewed."
            " There is no way back. Its id, to go on: "
        )
        self.app.stderr.flush()
        if sys.stdin.readline().strip() != authority:
            raise Malformed("nothing is revoked: that is not its id")

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Return 1 when hosts were waited for in vain."""
        self._waited_in_vain = False
        return super().run(parsed_args) or int(self._waited_in_vain)
