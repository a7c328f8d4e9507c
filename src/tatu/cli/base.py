"""What the commands share: how they reach a cloud, and how they show what it answered."""

import argparse
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cliff.columns import FormattableColumn
from osc_lib.command import command

from tatu.core.errors import Malformed, NotFound, Unauthenticated

if TYPE_CHECKING:
    from tatu.client.api import Api
    from tatu.client.connection import Connection, KeyConnection

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class _Connected:
    """Gives a command its cloud."""

    app: Any
    cmd_name: str | None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Take no abbreviated option: a slip must not widen what a command does."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)  # type: ignore[misc]
        parser.allow_abbrev = False
        return parser

    def check_whole(self, name: str) -> None:
        """Refuse to run by an abbreviation, as `openstack` lets; raises `Malformed`."""
        if self.cmd_name and not self.cmd_name.endswith(name):
            raise Malformed(f"write the command out: `{name}`, not `{self.cmd_name}`")

    @property
    def connection(self) -> "Connection":
        """The connection to the chosen cloud."""
        connection: Connection = self.app.client_manager.ssh
        return connection

    @property
    def api(self) -> "Api":
        """The API of the chosen cloud."""
        return self.connection.api

    def administering(self) -> "Api":
        """Return the API for changes to the embedded directory, which `tatu` alone serves."""
        connection: KeyConnection = self.app.client_manager.ssh
        return connection.administering()

    def project_id(self, named: str | None) -> str:
        """Return the id of a project that was named by id or name, else of the caller's own.

        It is the id of its authority. Raises `Malformed` when the caller has no project.
        """
        if named is not None:
            # who may not see the directory can still name a project by its id
            return self.connection.find("projects", named) or named
        own = self.connection.session().project
        if not own:
            raise Malformed("you are signed in to no project: name one by --project")
        return own

    def is_own(self, project: str) -> bool:
        """Say whether a project is the caller's own, of which there are files here."""
        try:
            return self.connection.session().project == project
        except Unauthenticated:
            return False

    def scope(self, args: argparse.Namespace) -> str | None:
        """Return the id of the project that `add_scope` let name, or None for all."""
        return None if args.all_projects else self.project_id(args.project)

    def checked(self, found: Sequence[object], args: argparse.Namespace) -> Sequence[object]:
        """Return what was found of a project, and of a `host` if one was named.

        Nothing is found of what is not there either: then it raises `NotFound`.
        """
        if found or args.all_projects:
            return found
        project, host = self.project_id(args.project), getattr(args, "host", None)
        if args.project and not self.connection.find("projects", args.project):
            try:
                self.api.authority(project)
            except NotFound as error:
                raise NotFound(f"there is no project with id or name {args.project!r}") from error
        if host is not None:
            self.api.host(project, host)
        return found

    def user_id(self, user: str) -> str:
        """Return the id of a user who was named by id or name; raises `NotFound`.

        Who may not see the directory can still name themselves, and others by id.
        """
        if found := self.connection.find("users", user):
            return found
        with suppress(Malformed):  # it is no id
            # users whom the directory does not have, or not for us, have left certificates
            if self.api.certificates("user", {"subject": user}):
                return user
        raise NotFound(f"there is no user with id or name {user!r}")


def add_project(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the option that names a project, as `project_id` takes it."""
    parser.add_argument(
        "--project",
        "--authority",
        metavar="PROJECT",
        help="of this project, by id or name (default: your own)",
    )
    return parser


def add_scope(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that say of which projects a list is, as `scope` takes them."""
    which = parser.add_mutually_exclusive_group()
    add_project(which)  # type: ignore[arg-type]
    which.add_argument(
        "--all-projects", action="store_true", help="of all projects, for administrators"
    )
    return parser


class Command(_Connected, command.Command):
    """A command that prints nothing, or prints it itself."""


class _Fitted:
    """Fits a table into the terminal that it is printed to; pipes get all of it."""

    app: Any
    formatter: Any

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """Print what was found."""
        if parsed_args.formatter == "table" and self.app.stdout.isatty():
            from tatu.cli.terminal import TerminalTable  # noqa: PLC0415 -- loads rich

            self.formatter = TerminalTable()
        return int(super().produce_output(parsed_args, column_names, data))  # type: ignore[misc]


class Lister(_Fitted, _Connected, command.Lister):
    """A command that lists resources."""


class ShowOne(_Fitted, _Connected, command.ShowOne):
    """A command that shows one resource."""


class Words(FormattableColumn[Sequence[str]]):
    """A list: a line of words for people, a list for programs."""

    def human_readable(self) -> str:
        """Return the words of a line."""
        return ", ".join(self._value)

    def machine_readable(self) -> list[str]:
        """Return a list."""
        return list(self._value)


def shown(value: object) -> object:
    """Return a value as it is shown: times in RFC 3339, absent ones empty, lists as `Words`.

    Text is the server's: what is not printable would steer the terminal.
    """
    match value:
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case None:
            return ""
        case list() | tuple():
            return Words([str(shown(item)) for item in value])
        case str():
            return "".join(
                char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value
            )
    return value


def table(
    columns: Sequence[str], resources: Iterable[object]
) -> tuple[Sequence[str], list[tuple[object, ...]]]:
    """Return what a `Lister` shows: these attributes of each resource."""
    return columns, [
        tuple(shown(getattr(resource, name)) for name in columns) for resource in resources
    ]


def attributes(columns: Sequence[str], resource: object) -> tuple[Sequence[str], list[object]]:
    """Return what a `ShowOne` shows: these attributes of a resource."""
    return columns, [shown(getattr(resource, name)) for name in columns]


def duration(text: str) -> timedelta:
    """Parse a duration: seconds, or a number with s, m, h or d."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not found or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration, as in 90, 30m, 8h or 1d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
