"""The machine's users and groups: looked up by name, changed by the system's own programs."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path

from tatu.agent import files
from tatu.agent.signatures import run

MARK = "Managed by tatu-agent"
"""The comment (GECOS) of the accounts that the agent made."""

_NOLOGIN = "/usr/sbin/nologin"
_NO_PASSWORD = "*"  # noqa: S105 (none fits; without PAM sshd lets nobody in by `!` at all)
_ENDED = "1"  # a day of 1970; shadow(5) leaves open what 0 is
_EXPIRES = 7  # which field of shadow(5)
_MAX_SHADOW = 16 * 2**20


@dataclass(frozen=True)
class User:
    """An account as it stands; `password` and `expires` as in shadow(5)."""

    uid: int
    home: Path
    shell: str
    comment: str
    password: str
    expires: str

    @property
    def is_locked(self) -> bool:
        """Whether it lets nobody in, in no way."""
        return (self.shell, self.expires, self.password) == (_NOLOGIN, _ENDED, _NO_PASSWORD)

    @property
    def is_open(self) -> bool:
        """Whether it lets in whom sshd lets in, and nobody by a password."""
        return self.shell != _NOLOGIN and (self.expires, self.password) == ("", _NO_PASSWORD)


@dataclass(frozen=True)
class Users:
    """What the system says of users; whatever changes it raises `AgentError`."""

    shadow: Path

    def find(self, name: str) -> User | None:
        """Return an account, wherever the system has it from."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            return None
        password, expires = self._shadow(name)
        return User(
            uid=found.pw_uid,
            home=Path(found.pw_dir),
            shell=found.pw_shell,
            comment=found.pw_gecos,
            password=password,
            expires=expires,
        )

    def _shadow(self, name: str) -> tuple[str, str]:
        text = (files.read(self.shadow, _MAX_SHADOW) or b"").decode(errors="replace")
        for line in text.splitlines():
            fields = line.split(":")
            if fields[0] == name and len(fields) > _EXPIRES:
                return fields[1], fields[_EXPIRES]
        return "", ""

    def home(self, name: str) -> Path:
        """Return the folder that an account of this name would get."""
        return Path("/home", name)

    def members(self, group: str) -> frozenset[str] | None:
        """Return whom a group lists, or None when there is no such group."""
        try:
            return frozenset(grp.getgrnam(group).gr_mem)
        except KeyError:
            return None

    def belonging(self, group: str) -> frozenset[str]:
        """Return whom a group lists, and whose primary group it is."""
        try:
            entry = grp.getgrnam(group)
        except KeyError:
            return frozenset()
        own = {user.pw_name for user in pwd.getpwall() if user.pw_gid == entry.gr_gid}
        return frozenset(own | set(entry.gr_mem))

    def add_group(self, group: str) -> None:
        """Make a group for the system's own use."""
        run(["groupadd", "--system", group])

    def remove_group(self, group: str) -> None:
        """Remove a group that is nobody's own."""
        run(["groupdel", group])

    def leave(self, name: str, group: str) -> None:
        """Take an account out of a group."""
        run(["gpasswd", "--delete", name, group])

    def add(self, name: str, group: str) -> None:
        """Make an account with a group and a home of its own that no password opens.

        Where passwords must be changed from time to time, sshd would refuse it after that time.
        """
        ageless = ["--key", "PASS_MAX_DAYS=-1", "--key", "PASS_MIN_DAYS=-1", "--inactive", "-1"]
        home = ["--create-home", "--home-dir", str(self.home(name))]
        named = ["--user-group", "--groups", group, "--comment", MARK, *home]
        run(["useradd", *ageless, *named, *self._opened(), name])

    def open(self, name: str) -> None:
        """Let in whom sshd lets in, and nobody by a password."""
        run(["usermod", *self._opened(), name])

    def lock(self, name: str) -> None:
        """Let nobody in; the files stay."""
        ended = ["--expiredate", _ENDED, "--shell", _NOLOGIN, "--password", _NO_PASSWORD]
        run(["usermod", *ended, name])

    def remove(self, name: str) -> None:
        """Remove an account with its files, which are lost."""
        run(["userdel", "--remove", name])

    def _opened(self) -> list[str]:
        shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
        return ["--expiredate", "", "--shell", shell, "--password", _NO_PASSWORD]
