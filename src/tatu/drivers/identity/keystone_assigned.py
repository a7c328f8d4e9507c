"""Who has which role where, worked out from all that was assigned in a cloud.

Keystone works it out itself, but for one project at a time: a thousand projects take it minutes,
and for all at once its time grows with the square of what was assigned. What it would say is said
here: groups have their members, a project has what its parents and its domain hand down, and roles
imply others. It is a listing like any: whoever is missing in it is asked for (S22).
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tatu.core.errors import NotFound, Unavailable
from tatu.drivers.identity.keystone_reader import GrantRecord, Reader

_MOST = 10_000
"""Of more projects Keystone, too, would hold all that was assigned in memory for too long."""


@dataclass(frozen=True, kw_only=True)
class _Given:
    """A role, and to whom it was given: a group, or a user."""

    role: str
    actor: str
    to_group: bool


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """All that was assigned; members of a group are asked for when they matter first.

    `parents` are those of all projects: the last one is the domain. `given` is by project,
    `handed_down` by the project or domain above. Roles that are not among `roles`, those of the
    whole cloud, only imply others.
    """

    reader: Reader = field(repr=False)
    roles: Collection[str]
    parents: Mapping[str, str | None]
    implied: Mapping[str, Collection[str]]
    given: Mapping[str, Sequence[_Given]]
    handed_down: Mapping[str, Sequence[_Given]]
    _members: dict[str, Sequence[str]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def all(cls, reader: Reader, roles: Collection[str]) -> "Assigned":
        """Ask for all that was assigned. Raises `Unavailable`, also for too large a cloud."""
        parents: dict[str, str | None] = {}
        for project in reader.projects():
            parents[project.id] = project.parent_id or project.domain_id
            if len(parents) > _MOST:
                raise Unavailable("there are too many projects to ask for all of them at once")
        given: defaultdict[str, list[_Given]] = defaultdict(list)
        handed_down: defaultdict[str, list[_Given]] = defaultdict(list)
        for grant in reader.grants():
            where = grant.scope.project or grant.scope.domain
            if where is None:  # of the system
                continue
            if grant.scope.inherited_to:
                handed_down[where.id].append(_read(grant))
            elif grant.scope.project:
                given[where.id].append(_read(grant))
        return cls(
            reader=reader,
            roles=roles,
            parents=parents,
            implied=reader.implied(),
            given=given,
            handed_down=handed_down,
        )

    def __contains__(self, project: str) -> bool:
        """Whether a project was there."""
        return project in self.parents

    def holders(self, project: str) -> Mapping[str, set[str]]:
        """Return who has which roles in a project. Raises `Unavailable`."""
        found = list(self.given.get(project, ()))
        for above in self._above(project):
            found += self.handed_down.get(above, ())
        held: defaultdict[str, set[str]] = defaultdict(set)
        for each in found:
            roles = self._with_implied(each.role).intersection(self.roles)
            for user in self._members_of(each.actor) if each.to_group else (each.actor,):
                held[user] |= roles
        return held

    def _above(self, project: str) -> Iterator[str]:
        """Yield a project's parents, and at last its domain; each once, whatever Keystone says."""
        seen = {project}
        while (above := self.parents.get(project)) and above not in seen:
            yield above
            seen.add(above)
            project = above

    def _with_implied(self, role: str) -> set[str]:
        found, new = {role}, [role]
        while new:
            more = set(self.implied.get(new.pop(), ())) - found
            found |= more
            new += more
        return found

    def _members_of(self, group: str) -> Sequence[str]:
        if group not in self._members:
            try:
                self._members[group] = self.reader.members(group)
            except NotFound:  # what it was given outlives a group of another directory
                self._members[group] = ()
        return self._members[group]


def _read(grant: GrantRecord) -> _Given:
    """Return what was given, in few bytes: it is of tens of thousands."""
    actor = grant.user or grant.group
    if actor is None:
        raise Unavailable("Keystone's assignments name nobody")
    return _Given(
        role=sys.intern(grant.role.id),
        actor=sys.intern(actor.id),
        to_group=grant.user is None,
    )
