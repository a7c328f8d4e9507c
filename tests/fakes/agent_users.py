"""A machine's users in memory, whose programs can be killed between any two of their steps."""

import shutil
from pathlib import Path

from tatu.agent.errors import AgentError
from tatu.agent.users import MARK, User, Users


class Killed(BaseException):
    """The agent, and the program that it runs, is no more."""


class FakeUsers(Users):
    """What useradd and its kin would do to files, a step at a time."""

    def __init__(self, root: Path):
        super().__init__(root / "etc/shadow")
        object.__setattr__(self, "root", root)
        self.users: dict[str, User] = {}
        self.groups: dict[str, set[str]] = {}
        self.primary: dict[str, str] = {}
        self.calls: list[str] = []
        self.steps_left: int | None = None
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        (root / "home").mkdir()

    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)

    def step(self) -> None:
        if self.steps_left == 0:
            raise Killed
        if self.steps_left is not None:
            self.steps_left -= 1

    def begin(self, program: str, name: str) -> None:
        self.calls.append(f"{program} {name}")
        if name in self.broken:
            raise AgentError(f"{program} failed: {name} is broken")
        self.step()

    def find(self, name):
        return self.users.get(name)

    def home(self, name):
        return self.root / "home" / name

    def members(self, group):
        return None if group not in self.groups else frozenset(self.groups[group])

    def belonging(self, group):
        primary = {name for name, its in self.primary.items() if its == group}
        return frozenset(self.groups.get(group, set()) | primary)

    def leave(self, name, group):
        self.begin("gpasswd", name)
        self.groups[group].discard(name)
        self.step()

    def add_group(self, group):
        self.begin("groupadd", group)
        self.groups[group] = set()
        self.step()

    def remove_group(self, group):
        self.begin("groupdel", group)
        del self.groups[group]
        self.step()

    def person(self, name, **changes):
        """Have an account that the agent did not make."""
        self.users[name] = User(
            **{
                "uid": 1000 + len(self.users),
                "home": self.home(name),
                "shell": "/bin/bash",
                "comment": "",
                "password": "*",
                "expires": "",
                **changes,
            }
        )

    def add(self, name, group):
        self.begin("useradd", name)
        if name in self.users or name in self.groups:
            raise AgentError(f"useradd failed: {name} is there")
        self.person(name, comment=MARK)
        if name in self.slow:
            raise AgentError("useradd did not end: TimeoutExpired")
        self.step()
        self.groups[name] = set()
        self.step()
        self.groups[group].add(name)
        self.step()
        self.home(name).mkdir()
        self.step()

    def open(self, name):
        self.begin("usermod open", name)
        self._change(name, shell="/bin/bash", expires="", password="*")
        self.step()

    def lock(self, name):
        self.begin("usermod lock", name)
        self._change(name, shell="/usr/sbin/nologin", expires="1", password="*")
        self.step()

    def _change(self, name, **changes):
        self.users[name] = User(**{**vars(self.users[name]), **changes})

    def remove(self, name):
        self.begin("userdel", name)
        del self.users[name]
        self.step()
        self.groups.pop(name, None)
        for members in self.groups.values():
            members.discard(name)
        self.step()
        shutil.rmtree(self.home(name), ignore_errors=True)
        self.step()
