"""Accounts by the statement (security.md S5): made, opened, locked, and never adopted.

An account is the agent's when it is in the agent's group and has the agent's comment: only root
writes either. One that stands there by other means stays as it is, and opens to no certificate.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tatu.agent import files, made
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.users import MARK, User, Users

_SYSTEM = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats
    nobody _apt messagebus sshd systemd-network systemd-resolve systemd-timesync systemd-coredump
    systemd-oom polkitd tss dbus chrony ntp syslog uuidd tcpdump landscape pollinate lxd shutdown
    halt operator ftp adm sudo wheel staff users docker libvirt kvm disk shadow utmp tty postgres
    mysql tatu kmem netdev plugdev nogroup dnsmasq _chrony _rpc ssm-user
"""
_DISTRIBUTION = """
    ubuntu debian centos fedora cloud-user ec2-user admin-user alpine arch opensuse rocky almalinux
    rhel core cirros freebsd azureuser opc vagrant pi
"""
RESERVED = frozenset(_SYSTEM.split()) | frozenset(_DISTRIBUTION.split())
"""Names that hosts own, whether or not this one has them yet: `core.accounts` has the same."""

_FIRST_UID = 1000
_MAX_ACCOUNTS = 1024  # locked ones as well: ever new names must not fill the machine
_UNMADE = f"it could not be made yet, or there are {_MAX_ACCOUNTS} already, with the locked ones"
_CRONTABS = ("var/spool/cron/crontabs", "var/spool/cron", "var/spool/cron/tabs")
_AT_JOBS = ("var/spool/cron/atjobs", "var/spool/at", "var/spool/atjobs")
_SHOWN = 5
_LINGER = "var/lib/systemd/linger"


@dataclass(frozen=True)
class Accounts:
    """The accounts that the agent makes on this machine, as statements name them."""

    layout: Layout
    users: Users

    def managed(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that are accounts of the agent's."""
        wanted = set(names)
        return [name for name in self.all() if name in wanted]

    def all(self) -> list[str]:
        """Return every account of the agent's, locked ones as well."""
        return [name for name, _ in self._ours()]

    def _ours(self) -> Iterator[tuple[str, User]]:
        # One that was being made may lack anything; nobody was let in to it yet
        making = made.load(self.layout).making
        for name in sorted((self.users.members(self.layout.group) or frozenset()) - {making}):
            user = self.users.find(name)
            if user and user.comment == MARK and user.uid >= _FIRST_UID and not refusal(name):
                yield name, user

    def strangers(self) -> list[str]:
        """Return who is in the group, as a member or by their own, and is not the agent's."""
        found = self.users.belonging(self.layout.group)
        others = found - set(self.managed(found)) - {made.load(self.layout).making}
        return sorted(name for name in others if self.users.find(name))

    def claim(self) -> None:
        """Raise `AgentError` for a group that is somebody else's: what it may read is theirs.

        On the server of Tatu `tatu` may read the key of its TLS, and the database's password.
        """
        others = self.strangers()
        if others:
            whose = f"{', '.join(others[:_SHOWN])}{', …' if others[_SHOWN:] else ''}"
            raise AgentError(f"group {self.layout.group} is of {whose}: give --group another")

    def leave(self) -> None:
        """Take the agent's accounts out of a group that is somebody else's as well."""
        for name in self.all() if self.strangers() else ():
            self.users.leave(name, self.layout.group)

    def in_the_way(self, names: Iterable[str]) -> dict[str, str]:
        """Return why names are no accounts of the agent's."""
        missing = sorted(set(names) - set(self.managed(names)))
        return {name: self._obstacle(name) or _UNMADE for name in missing}

    def _obstacle(self, name: str) -> str | None:
        if self.users.find(name):
            return "there is an account of that name that the agent did not make"
        if self.users.members(name) is not None:
            return "there is a group of that name, whose rights it would get"
        if os.path.lexists(self.users.home(name)):
            return f"there is {self.users.home(name)}, whose files it would get"
        return refusal(name)

    def keep(self, names: Iterable[str], unattended: Collection[str] = ()) -> list[str]:
        """Have these open and all others of the agent's locked; return what could not be done.

        Those that may run unattended keep their jobs, and their leave to, while they are open.
        What fails for one keeps no other from being locked or made. Names that something stands
        in the way of are passed over: `in_the_way` tells of them.
        """
        wanted = set(names)
        failures: list[str] = []
        for name, user in self._ours():
            with _noted(failures, name):
                keeps_jobs = name in wanted and name in unattended
                self._settle(name, user, is_wanted=name in wanted, keeps_jobs=keeps_jobs)
        with _noted(failures, self.layout.group):
            self._begin()
            ours = self.all()
            new = [name for name in sorted(wanted - set(ours)) if self._obstacle(name) is None]
            if new:
                self.claim()
            for name in new[: _MAX_ACCOUNTS - len(ours)]:
                with _noted(failures, name):
                    self._make(name)
        return failures

    def _settle(self, name: str, user: User, *, is_wanted: bool, keeps_jobs: bool = False) -> None:
        """Open or lock an account, and take away what would run in it without a login (S16)."""
        if is_wanted and not user.is_open:
            self.users.open(name)
        elif not is_wanted and not user.is_locked:
            self.users.lock(name)
        if not keeps_jobs:
            self._clear(name, user)

    def retire(self, *, remove: bool) -> list[str]:
        """Lock every account of the agent's, or remove it with its files; return what fails."""
        failures: list[str] = []
        for name, user in self._ours():
            with _noted(failures, name):
                if remove:
                    self.users.remove(name)
                else:
                    self._settle(name, user, is_wanted=False)
        record = made.load(self.layout)
        is_there = self.users.members(self.layout.group) is not None
        if record.group and is_there and not self.users.belonging(self.layout.group):
            self.users.remove_group(self.layout.group)
            made.save(self.layout, replace(record, group=False))
        return failures

    def _clear(self, name: str, user: User) -> None:
        """Remove the jobs of an account, and its leave to run without a login."""
        root = self.layout.root
        for path in [*(root / folder / name for folder in _CRONTABS), root / _LINGER / name]:
            if path.is_file():
                files.remove(path)
        for folder in (root / jobs for jobs in _AT_JOBS):
            for job in folder.iterdir() if folder.is_dir() else ():
                with suppress(FileNotFoundError):  # it ran: anybody's come and go meanwhile
                    found = job.lstat()
                    if stat.S_ISREG(found.st_mode) and found.st_uid == user.uid:
                        files.remove(job)

    def _begin(self) -> None:
        """Have a group, and nothing that a killed run left half-made."""
        record = made.load(self.layout)
        if self.users.members(self.layout.group) is None:
            record = replace(record, group=True)
            made.save(self.layout, record)
            self.users.add_group(self.layout.group)
        if record.making is not None:
            self._unmake(record.making)
            made.save(self.layout, replace(record, making=None))

    def _unmake(self, name: str) -> None:
        """Remove what there is of an account that nobody was let in to yet."""
        user = self.users.find(name)
        if user is None:
            if self.users.members(name) is not None:
                self.users.remove_group(name)
        elif user.comment == MARK:
            self.users.remove(name)
        if user is None or user.comment == MARK:
            with suppress(OSError):  # one with files in it stands in the way, and is told of
                self.users.home(name).rmdir()

    def _make(self, name: str) -> None:
        record = replace(made.load(self.layout), making=None)
        made.save(self.layout, replace(record, making=name))
        try:
            self.users.add(name, self.layout.group)
        except AgentError:
            self._unmake(name)  # useradd may have taken too long, and been ended
            made.save(self.layout, record)
            raise
        made.save(self.layout, record)


class Standing(Accounts):
    """The accounts where `--root` is not `/`: this machine's as they stand, by their group alone.

    Files of such a host lie elsewhere, as in a trial beside a host that is in use, but useradd
    knows no other users than this machine's: they are nobody's to make or to lock there.
    """

    def managed(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that exist here and belong to the group."""
        return sorted(set(names) & self.users.belonging(self.layout.group))

    def in_the_way(self, names: Iterable[str]) -> dict[str, str]:
        """Return the names that belong to no account of the group."""
        missing = set(names) - set(self.managed(names))
        return dict.fromkeys(sorted(missing), f"no account is in group {self.layout.group}")

    def keep(self, names: Iterable[str], unattended: Collection[str] = ()) -> list[str]:
        """Change nothing."""
        return []

    def retire(self, *, remove: bool) -> list[str]:
        """Change nothing."""
        return []


def of(layout: Layout) -> Accounts:
    """Return the accounts of this machine, as far as the agent may change them."""
    kind = Accounts if layout.root == Path("/") else Standing
    return kind(layout, Users(layout.root / "etc/shadow"))


def refusal(name: str) -> str | None:
    """Return why no host may have an account of that name from a statement, or None."""
    if name in RESERVED or name.startswith("systemd-"):
        return "the name is reserved: hosts have such an account of their own"
    return None


@contextmanager
def _noted(failures: list[str], about: str) -> Iterator[None]:
    try:
        yield
    except (AgentError, OSError) as error:  # a job may have run, and be gone, since it was listed
        failures.append(f"account {about}: {error}")
