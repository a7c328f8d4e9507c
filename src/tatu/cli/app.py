"""The cliff application: which commands there are, and what their errors mean to a shell."""

import argparse
from importlib.metadata import EntryPoint, version

from cliff.app import App
from cliff.command import Command
from cliff.commandmanager import CommandManager

from tatu.cli.clients import ClientManager
from tatu.core.errors import Denied, TooMany, Unauthenticated, Unavailable

GROUP = "tatu.cli"

SHARED = {
    "block clear": "block:BlockClear",
    "block list": "block:BlockList",
    "ca create": "ca:CaCreate",
    "ca list": "ca:CaList",
    "ca set": "ca:CaSet",
    "ca show": "ca:CaShow",
    "host delete": "host:HostDelete",
    "host list": "host:HostList",
    "host sessions": "host:HostSessions",
    "host show": "host:HostShow",
    "hostcert create": "hostcert:HostcertCreate",
    "hostcert list": "hostcert:HostcertList",
    "hostcert show": "hostcert:HostcertShow",
    "known-hosts": "knownhosts:KnownHosts",
    "login list": "login:LoginList",
    "ssh": "ssh:Ssh",
    "ssh-config refresh": "sshconfig:SshConfigRefresh",
    "ssh-config": "sshconfig:SshConfig",
    "token create": "token:TokenCreate",
    "usercert create": "usercert:UsercertCreate",
    "usercert list": "usercert:UsercertList",
    "usercert revoke": "usercert:UsercertRevoke",
    "usercert show": "usercert:UsercertShow",
}
"""What is served as `openstack ssh …` too; pyproject.toml has the same in `openstack.ssh.v2`."""

COMMANDS = SHARED | {
    "assignment list": "assignment:AssignmentList",
    "cert lint": "cert:CertLint",
    "group create": "group:GroupCreate",
    "group delete": "group:GroupDelete",
    "group list": "group:GroupList",
    "group member add": "group:GroupMemberAdd",
    "group member list": "group:GroupMemberList",
    "group member remove": "group:GroupMemberRemove",
    "group show": "group:GroupShow",
    "login": "session:Login",
    "logout": "session:Logout",
    "project create": "project:ProjectCreate",
    "project delete": "project:ProjectDelete",
    "project list": "project:ProjectList",
    "project set": "project:ProjectSet",
    "project show": "project:ProjectShow",
    "role add": "role:RoleAdd",
    "role create": "role:RoleCreate",
    "role delete": "role:RoleDelete",
    "role list": "role:RoleList",
    "role remove": "role:RoleRemove",
    "role show": "role:RoleShow",
    "user create": "user:UserCreate",
    "user delete": "user:UserDelete",
    "user key add": "user:UserKeyAdd",
    "user key list": "user:UserKeyList",
    "user key remove": "user:UserKeyRemove",
    "user list": "user:UserList",
    "user set": "user:UserSet",
    "user show": "user:UserShow",
    "whoami": "session:Whoami",
}
"""Each command and its class, which is loaded when it is used."""

HIDDEN = frozenset({"ssh-config refresh", "complete", "help"})

STATUS: tuple[tuple[type[BaseException], int], ...] = (
    (Unauthenticated, 3),
    (Denied, 4),
    (Unavailable, 5),
    (TooMany, 5),
)
"""What a command ends with when it fails; 1 for all else, 2 for wrong usage."""


class Tatu(App):
    """The command line of Tatu."""

    NAME = "tatu"

    def __init__(self) -> None:
        super().__init__(
            description="Short-lived SSH certificates for a cloud's people and machines.",
            version=version("tatu"),
            command_manager=_commands(),
            deferred_help=True,
        )
        self._status = 0

    def build_option_parser(self, *args: object, **kwargs: object) -> argparse.ArgumentParser:
        """Add the option that every command takes."""
        parser = super().build_option_parser(*args, **kwargs)  # type: ignore[arg-type]
        parser.prog = "tatu"
        parser.add_argument(
            "--cloud", metavar="NAME", help="the cloud to use, else $TATU_CLOUD, else the last one"
        )
        return parser

    def initialize_app(self, argv: list[str]) -> None:
        """Give commands what they ask for their clients, as `openstack` does."""
        self.client_manager = ClientManager(self.options.cloud)

    def print_help_if_requested(self) -> None:
        """Print the options and the commands, each with the first line of its description."""
        if self.options.deferred_help:
            self.parser.print_help(self.stdout)
            self.stdout.write("\ncommands (`tatu help COMMAND` tells more):\n")
            for name, entry in sorted(self.command_manager):
                if name not in HIDDEN:
                    line = (entry.load().__doc__ or "").partition("\n")[0].rstrip(".")
                    self.stdout.write(f"  {name:<22}{line}\n")
            raise SystemExit(0)

    def clean_up(self, cmd: Command, result: int, err: BaseException | None) -> None:
        """Remember what the command's error means."""
        for kind, status in STATUS:
            if isinstance(err, kind):
                self._status = status

    def run(self, argv: list[str]) -> int:
        """Run a command; return its exit status."""
        result = super().run(argv)
        return self._status or result


class _Commands(CommandManager):
    """Finds a command by its whole name: an abbreviation or a slip must not revoke anything."""

    def find_command(self, argv: list[str]) -> tuple[type[Command], str, list[str]]:
        """Return a command, its name and what follows; raises `ValueError` for none."""
        for end in range(len(argv), 0, -1):
            name = " ".join(argv[:end])
            if name in self.commands:
                return self.commands[name].load(), name, argv[end:]
        raise ValueError(f"Unknown command {argv!r}")


def _commands() -> CommandManager:
    manager = _Commands()
    for name, place in COMMANDS.items():
        manager.commands[name] = EntryPoint(name, f"tatu.cli.{place}", GROUP)
    return manager


def run(argv: list[str]) -> int:
    """Run a command and return its exit status; without one, show which there are."""
    return Tatu().run(["--help"] if argv in ([], ["help"]) else argv)
