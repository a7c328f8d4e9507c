"""What Keystone's listings tell: quick, a moment old, and no proof of an absence.

Reconciliation asks for thousands of projects and users: one call each would be too many.
"""

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tatu.core.errors import NotFound, Unavailable
from tatu.core.identity import Role
from tatu.drivers.identity.keystone_assigned import Assigned
from tatu.drivers.identity.keystone_reader import Reader
from tatu.ports import Clock, Project

ROLES_KEPT = timedelta(seconds=60)
ROLES_FAILED = timedelta(seconds=5)
ENABLED_KEPT = timedelta(seconds=30)

_FEW = 25
"""As many users, or projects, are asked for one by one before all are: a loss concerns few."""


@dataclass
class Roles:
    """All roles, as of a minute ago at most.

    A failure is kept as well, for a moment, whatever is asked: while Keystone hangs, each
    statement that must be built would wait for it anew.
    """

    reader: Reader
    clock: Clock
    _found: frozenset[Role] | Unavailable | None = field(default=None, init=False)
    _at: datetime | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def all(self, since: datetime | None = None) -> frozenset[Role]:
        """Return all roles, asked for `since` then. Raises `Unavailable`."""
        with self._lock:
            if isinstance(self._found, Unavailable):
                old = _is_old(self._at, ROLES_FAILED, self.clock(), None)
            else:
                old = self._found is None or _is_old(self._at, ROLES_KEPT, self.clock(), since)
            if old:
                self._ask()
            if isinstance(self._found, frozenset):
                return self._found
        raise Unavailable(str(self._found))

    def named(self, ids: Collection[str], since: datetime | None = None) -> Mapping[str, Role]:
        """Return these roles by id, without those that are not of the whole cloud."""
        found = {role.id: role for role in self.all(since)}
        if not found.keys() >= set(ids):  # one may be younger than what is kept
            with self._lock:
                self._found = None
            found = {role.id: role for role in self.all()}
        return found

    def _ask(self) -> None:
        self._at = self.clock()
        try:
            self._found = self.reader.roles()
        except Unavailable as error:
            self._found = error
            self._at = self.clock()


@dataclass
class Listings:
    """Projects, and who holds what in them, as listed half a minute ago or `since` then.

    What was assigned is asked for by project, and all at once when that were many questions; where
    it fails, once, it is one for each after all.
    """

    reader: Reader
    roles: Roles
    clock: Clock
    _users: dict[str, bool] = field(default_factory=dict, init=False)
    _projects: dict[str, bool] = field(default_factory=dict, init=False)
    _domains: dict[str, bool] = field(default_factory=dict, init=False)
    _listed: bool = field(default=False, init=False)
    _asked: int = field(default=0, init=False)
    _assigned: Assigned | Unavailable | None = field(default=None, init=False)
    _since: datetime | None = field(default=None, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def projects(self, since: datetime | None = None) -> Iterator[Project]:
        """Yield the projects. Raises `Unavailable`."""
        for record in self.reader.projects():
            with self._lock:
                self._forget_the_old(since)
                enabled = record.enabled and self._domain(record.domain_id)
                self._projects[record.id] = enabled
            yield Project(id=record.id, name=record.name, enabled=enabled)

    def holders(
        self, project: str, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        """Return who has which roles in a project, if they and it are enabled."""
        with self._lock:
            self._forget_the_old(since)
            if not self._project(project):
                return {}
            self._asked += 1
            many = self._asked == _FEW + 1  # one asks for all
            at = self._since
        if many:  # which takes Keystone seconds: no loss of one project waits for it
            assigned = self._all_assigned(since)
            with self._lock:
                if self._since == at:
                    self._assigned = assigned
        try:
            held = self._held(project)
        except NotFound:
            return {}
        roles = self.roles.named({role for ids in held.values() for role in ids}, since)
        enabled = self._enabled(held, since)
        found = {
            user: frozenset(roles[role] for role in ids if role in roles)
            for user, ids in held.items()
            if user in enabled
        }
        return {user: some for user, some in found.items() if some}

    def _all_assigned(self, since: datetime | None) -> Assigned | Unavailable:
        try:
            return Assigned.all(self.reader, {role.id for role in self.roles.all(since)})
        except Unavailable as error:
            return error

    def _held(self, project: str) -> Mapping[str, set[str]]:
        """Return who was given which roles in a project, enabled or not."""
        known = self._assigned
        if isinstance(known, Assigned) and project in known:
            try:
                return known.holders(project)
            except Unavailable as error:
                with self._lock:
                    if self._assigned is known:
                        self._assigned = error
        held: defaultdict[str, set[str]] = defaultdict(set)
        for assignment in self.reader.assignments(project):
            held[assignment.user.id].add(assignment.role.id)
        return held

    def _enabled(self, users: Collection[str], since: datetime | None) -> frozenset[str]:
        with self._lock:
            self._forget_the_old(since)
            unknown = [user for user in users if user not in self._users]
            if len(self._users) + len(unknown) > _FEW and not self._listed:
                self._list()
            for user in unknown:
                if user not in self._users:
                    self._users[user] = self._user(user)
            return frozenset(user for user in users if self._users[user])

    def _list(self) -> None:
        for domain in list(self.reader.domains()):
            self._domains[domain.id] = domain.enabled
            for user in self.reader.users(domain.id):
                self._users[user.id] = user.enabled and domain.enabled
        self._listed = True

    def _user(self, user: str) -> bool:
        try:
            record = self.reader.user(user)
        except NotFound:
            return False
        return record.enabled and self._domain(record.domain_id)

    def _project(self, project: str) -> bool:
        if project not in self._projects:
            try:
                record = self.reader.project(project)
            except NotFound:
                return False
            self._projects[project] = record.enabled and self._domain(record.domain_id)
        return self._projects[project]

    def _domain(self, domain: str | None) -> bool:
        if domain is None:
            return True
        if domain not in self._domains:
            try:
                self._domains[domain] = self.reader.domain(domain).enabled
            except NotFound:
                return False
        return self._domains[domain]

    def _forget_the_old(self, since: datetime | None = None) -> None:
        now = self.clock()
        if _is_old(self._since, ENABLED_KEPT, now, since):
            self._users.clear()
            self._projects.clear()
            self._domains.clear()
            self._listed = False
            self._asked = 0
            self._assigned = None
            self._since = now


def _is_old(at: datetime | None, kept: timedelta, now: datetime, since: datetime | None) -> bool:
    """Whether what was found out at a time counts no more.

    A comparison lists once, however long it takes: one that lists for longer than a listing is
    kept would never come to an end.
    """
    if at is None or at > now:
        return True
    return at < since if since is not None else at + kept <= now
