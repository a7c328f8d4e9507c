"""What a cloud tells has happened, and which permissions may have ended by it.

A notice says less than the truth: that a user changed, not that they were disabled. It therefore
names the topics of a cut-off (`core.losses`), and the sweep that follows asks the cloud who has
lost what.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tatu.core import losses
from tatu.core.losses import Topic


class NoticeKind(StrEnum):
    """What happened, in the words of the field."""

    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_DELETED = "project.deleted"
    USER_CHANGED = "user.changed"
    USER_DELETED = "user.deleted"
    GROUP_CHANGED = "group.changed"
    GROUP_DELETED = "group.deleted"
    ROLE_CHANGED = "role.changed"
    ROLE_DELETED = "role.deleted"
    ASSIGNMENT_REMOVED = "assignment.removed"
    DOMAIN_CHANGED = "domain.changed"
    DOMAIN_DELETED = "domain.deleted"
    ORIGIN_DELETED = "origin.deleted"
    INSTANCE_CHANGED = "instance.changed"
    INSTANCE_REBUILT = "instance.rebuilt"
    INSTANCE_DELETED = "instance.deleted"
    ADDRESS_CHANGED = "address.changed"


_TOPICS: Mapping[NoticeKind, Callable[[str], Topic]] = {
    NoticeKind.PROJECT_CHANGED: losses.project,
    NoticeKind.PROJECT_DELETED: losses.project,
    NoticeKind.USER_CHANGED: losses.user,
    NoticeKind.USER_DELETED: losses.user,
    NoticeKind.ROLE_CHANGED: losses.role,
    NoticeKind.ROLE_DELETED: losses.role,
    NoticeKind.ORIGIN_DELETED: losses.origin,
}

_UNKNOWN_WHOSE = frozenset(
    {
        NoticeKind.GROUP_CHANGED,
        NoticeKind.GROUP_DELETED,
        NoticeKind.DOMAIN_CHANGED,
        NoticeKind.DOMAIN_DELETED,
    }
)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One thing that happened in the cloud; `id` is of what the kind names.

    Of a removed assignment `id` is the role's, with `user` or `group`, and `project` or `domain`
    (`inherited`: it counted below them). `user` of a changed group is who left it, empty when the
    cloud does not say. `id` of a deleted origin is as in `Identity.origin`. `message` is the
    cloud's id of the message that told it, `project` of an instance is its own. A changed address
    belongs to whoever it belongs to now: `project`, when given, is where to look for who had it.
    `name` is what a changed instance is called now, when that is all that may have changed.
    """

    kind: NoticeKind
    id: str
    message: str
    user: str = ""
    group: str = ""
    project: str = ""
    domain: str = ""
    name: str = ""
    inherited: bool = False

    @property
    def topics(self) -> tuple[Topic, ...]:
        """What may have ended by it; none for what takes nothing away."""
        if self.kind is NoticeKind.ASSIGNMENT_REMOVED:
            return self._of_assignment()
        if self.kind is NoticeKind.GROUP_CHANGED and self.user:
            return (losses.user(self.user),)
        if self.kind in _UNKNOWN_WHOSE:
            return (losses.everyone(),)
        topic = _TOPICS.get(self.kind)
        return () if topic is None else (topic(self.id),)

    def _of_assignment(self) -> tuple[Topic, ...]:
        if self.inherited:  # it counted in projects that the notice does not name
            return (losses.user(self.user) if self.user else losses.everyone(),)
        if not self.project:
            return ()  # a role on a domain itself gives nothing in a project
        if self.user:
            return (losses.user_in_project(self.user, self.project),)
        return (losses.project(self.project),)
