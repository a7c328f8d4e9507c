"""The command `tatu-agent`: what its words mean, and what becomes of its errors."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

from tatu.agent import (
    VERSION,
    doctor,
    http,
    platform,
    renew,
    sessions,
    token,
    unit,
    upgrade,
    vendordata,
)
from tatu.agent.daemon import Daemon
from tatu.agent.enrol import enrol
from tatu.agent.errors import AgentError
from tatu.agent.http import Server
from tatu.agent.layout import Layout
from tatu.agent.state import Store
from tatu.agent.sync import sync
from tatu.agent.token import EnrolmentToken
from tatu.agent.uninstall import stopped, uninstall

_TOKEN_VARIABLE = "TATU_ENROLMENT_TOKEN"  # noqa: S105 (a name)
_MAX_TOKEN = token.MAX_SIZE + 2  # with the end of its line
_FAILED = 1
_PATHS = ("root", "sshd_config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 for failure, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    root = Path(options.root).resolve()
    layout = Layout(
        root=root,
        sshd_config=Path(options.sshd_config or root / "etc/ssh/sshd_config").resolve(),
        sshd=options.sshd,
        group=options.group,
        reload_command=options.reload_command,
    )
    store = Store(layout.state)
    if options.command == "run":
        Daemon(layout, store, _now, enrolment=_enrolment(options, layout, store)).run()
        return 0
    if options.command == "doctor":
        return _doctor(layout, store, as_json=options.json)
    if options.command == "sessions":
        print(sessions.shown(layout, as_json=options.json))
        return 0
    try:
        alone = stopped(layout) if options.command == "uninstall" else nullcontext()
        with alone, store.locked():
            _print(_done(options, layout, store))
        if options.command == "setup":
            _begin(options, layout, store)
    except (AgentError, OSError) as error:
        print(f"tatu-agent: {error}", file=sys.stderr)
        return _FAILED
    return 0


def _print(said: Sequence[str]) -> None:
    for line in said:
        file = sys.stderr if line.startswith("warning") else sys.stdout
        print(f"tatu-agent: {line}", file=file, flush=True)


def _done(options: argparse.Namespace, layout: Layout, store: Store) -> list[str]:
    """Do what alone may be done at a time; return what an operator should know."""
    if options.command in ("enrol", "setup") and options.ca_file:
        http.check_authorities(options.ca_file)  # not first when the service, or a renewal, asks
    if options.command == "sync":
        return [*sync(layout, store, _now), *renew.when_due(layout, store, _now())]
    if options.command == "uninstall":
        return uninstall(layout, remove_accounts=options.remove_accounts)
    if options.command == "setup":
        upgrade.settle(layout)
        return unit.setup(layout, _options_of_run(options))
    if options.command == "upgrade":
        file = options.file and Path(options.file)
        release = upgrade.from_file(file) if file else upgrade.from_server(store)
        return upgrade.upgrade(layout, *release)
    invitation = _invitation(options)
    server = Server(invitation.url, options.ca_file, options.insecure_http)
    return enrol(layout, store, invitation, server, _now())


def _begin(options: argparse.Namespace, layout: Layout, store: Store) -> None:
    """Enrol at once, which waits for no service to start, and have the service go on from there.

    Where no systemd runs, whoever starts `run` has it enrol.
    """
    if not layout.systemd.is_dir():
        return
    try:
        _print(_enrolment(options, layout, store)())
    except (AgentError, OSError) as error:
        _print([f"warning: not enrolled yet, and tried again: {error}"])
    finally:
        unit.start(layout)


def _enrolment(
    options: argparse.Namespace, layout: Layout, store: Store
) -> Callable[[], Sequence[str]]:
    if not options.platform:
        return tuple
    return platform.Enrolment(layout, store, _now, options.ca_file, options.insecure_http)


def _options_of_run(options: argparse.Namespace) -> list[str]:
    """Return what `run` is to be called with, as `setup` was; it runs in another folder."""
    default = vars(_parser().parse_args(["setup"]))
    given = []
    for name, value in vars(options).items():
        if value != default[name]:
            text = str(Path(value).resolve()) if name in _PATHS else value
            option = f"--{name.replace('_', '-')}"
            given.append(option if value is True else f"{option}={text}")
    return given


def _doctor(layout: Layout, store: Store, *, as_json: bool) -> int:
    """Show what is found; 1 when any of it needs somebody."""
    try:
        found = doctor.findings(layout, store, store.load(), _now())
    except AgentError as error:
        found = [doctor.Finding(doctor.ERROR, "enrolment", str(error))]
    if as_json:
        print(json.dumps([each.told() for each in found], indent=1))
    else:
        for each in found:
            print(f"{each.level}: {each.about}: {each.detail}")
    return _FAILED if any(each.level != doctor.INFO for each in found) else 0


def _now() -> datetime:
    return datetime.now(timezone.utc)


class _Parser(argparse.ArgumentParser):
    """Never repeats a token that was given as an argument: what it says ends in logs."""

    def error(self, message: str) -> NoReturn:
        super().error(re.sub(r"tatu-enrol-[^\s']*", "(a token)", message))


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--root", metavar="DIR", default="/", help="where etc and var are")
    common.add_argument(
        "--sshd-config", metavar="FILE", help="DIR/etc/ssh/sshd_config if not given"
    )
    common.add_argument("--sshd", metavar="PATH", default="/usr/sbin/sshd", help="sshd itself")
    common.add_argument("--group", default="tatu", help="whose members are managed (%(default)s)")
    common.add_argument(
        "--reload-command",
        metavar="COMMAND",
        default="",
        help="how to reload sshd, if neither systemd nor a pid file says",
    )
    # Abbreviated, --token TOKEN would be a file's name
    parser = _Parser(prog="tatu-agent", allow_abbrev=False, description="Obey a Tatu authority.")
    parser.add_argument("--version", action="version", version=f"tatu-agent {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    enrolling = commands.add_parser(
        "enrol", parents=[common], allow_abbrev=False, help="redeem an enrolment token"
    )
    given = enrolling.add_mutually_exclusive_group()
    given.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"holds the token; - is standard input; without it, ${_TOKEN_VARIABLE}",
    )
    given.add_argument(
        "--vendordata",
        metavar="FILE",
        help="what the platform tells this instance (vendor_data2.json); - is standard input",
    )
    upgrading = commands.add_parser(
        "upgrade", parents=[common], allow_abbrev=False, help="let a later release take over"
    )
    release = upgrading.add_mutually_exclusive_group(required=True)
    release.add_argument("file", nargs="?", metavar="FILE", help="with its signature in FILE.sig")
    release.add_argument("--from-server", action="store_true", help="what Tatu offers")
    running = commands.add_parser(
        "run", parents=[common], allow_abbrev=False, help="sync at once whenever there is news"
    )
    setting_up = commands.add_parser(
        "setup", parents=[common], allow_abbrev=False, help="have systemd run this agent"
    )
    for command in (running, setting_up):
        command.add_argument(
            "--platform",
            action="store_true",
            help="enrol by what the platform tells this instance: config drive, metadata service",
        )
    for command in (enrolling, running, setting_up):
        command.add_argument(
            "--ca-file", metavar="FILE", type=_absolute, help="trusted for TLS, not the system's"
        )
        command.add_argument(
            "--insecure-http", action="store_true", help="allow http that leaves this machine"
        )
    listing = commands.add_parser(
        "sessions", parents=[common], allow_abbrev=False, help="list who is logged in by what"
    )
    listing.add_argument("--json", action="store_true", help="for programs")
    looking = commands.add_parser(
        "doctor", parents=[common], allow_abbrev=False, help="say what is wrong with this host"
    )
    looking.add_argument("--json", action="store_true", help="as JSON")
    leaving = commands.add_parser(
        "uninstall", parents=[common], allow_abbrev=False, help="leave the machine as it was"
    )
    leaving.add_argument(
        "--remove-accounts",
        action="store_true",
        help="remove the accounts, too, with their files; without it they are locked",
    )
    commands.add_parser(
        "sync", parents=[common], allow_abbrev=False, help="fetch and obey the newest statement"
    )
    return parser


def _absolute(file: str) -> str:
    """Return a file's name as it is from every folder; what it links to may change."""
    return str(Path(file).absolute())


def _invitation(options: argparse.Namespace) -> EnrolmentToken:
    if options.vendordata is not None:
        return vendordata.invitation(_read(options.vendordata, vendordata.MAX_SIZE + 1))
    return EnrolmentToken.parse(_token(options.token_file))


def _read(file: str, limit: int) -> str:
    if file == "-":
        return sys.stdin.read(limit)
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            return opened.read(limit)
    except OSError as error:
        # without the name: it might be the token
        raise AgentError(f"cannot read the token's file: {error.strerror}") from None


def _token(file: str | None) -> str:
    """Return the token's text; never from the arguments, which all users can read."""
    found = os.environ.get(_TOKEN_VARIABLE, "") if file is None else _read(file, _MAX_TOKEN)
    text = found.strip()
    if not text:
        raise AgentError(f"no token: give --token-file, or set {_TOKEN_VARIABLE}")
    return text
