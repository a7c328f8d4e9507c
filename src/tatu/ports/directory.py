"""The embedded directory: projects, users, groups, roles and assignments."""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.identity import Role
from tatu.core.keys import PublicKey
from tatu.ports.common import Page


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project of the cloud or of the embedded directory."""

    id: str
    name: str
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the cloud or of the embedded directory.

    `federated`: another source knows them too, and assignments may not tell all their roles (S9).
    """

    id: str
    name: str
    enabled: bool = True
    federated: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of users of the embedded directory."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class UserKey:
    """A key that a user signs in with."""

    user: str
    public_key: PublicKey
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A role in a project, held by a user or a group (one of the two is set)."""

    project: str
    role: str
    user: str | None = None
    group: str | None = None


class Directory(Protocol):
    """Local projects, users, groups, roles and assignments: the embedded identity's memory.

    Whatever takes something away commits its cut-off in the same transaction. Creating what is
    there raises `Conflict`, touching what is not `NotFound`; names are unique, compared
    byte for byte.  Deleting and disabling are idempotent.
    """

    @abstractmethod
    def create_project(self, project: Project, event: Event) -> None:
        """Add a project."""

    @abstractmethod
    def project(self, id_or_name: str) -> Project:
        """Find a project: by id first, then by name."""

    @abstractmethod
    def projects(self, *, limit: int, marker: str | None) -> Page[Project]:
        """Return projects by id."""

    @abstractmethod
    def enable_project(self, project_id: str, event: Event, *, enabled: bool) -> Project:
        """Enable or disable a project."""

    @abstractmethod
    def delete_project(self, project_id: str, event: Event) -> None:
        """Delete a project and its assignments."""

    @abstractmethod
    def create_user(self, user: User, event: Event) -> None:
        """Add a user."""

    @abstractmethod
    def user(self, id_or_name: str) -> User:
        """Find a user: by id first, then by name."""

    @abstractmethod
    def users(self, *, limit: int, marker: str | None) -> Page[User]:
        """Return users by id."""

    @abstractmethod
    def enable_user(self, user_id: str, event: Event, *, enabled: bool) -> User:
        """Enable or disable a user; disabling ends their tokens."""

    @abstractmethod
    def delete_user(self, user_id: str, event: Event) -> None:
        """Delete a user with keys, memberships, assignments and tokens."""

    @abstractmethod
    def add_key(self, key: UserKey, event: Event) -> None:
        """Let a user sign in with a key. Raises `Conflict` when anybody has it already."""

    @abstractmethod
    def keys(self, user_id: str) -> tuple[UserKey, ...]:
        """Return a user's keys."""

    @abstractmethod
    def remove_key(self, user_id: str, fingerprint: str, event: Event) -> None:
        """Take a key away; ends the tokens that it got."""

    @abstractmethod
    def create_group(self, group: Group, event: Event) -> None:
        """Add a group."""

    @abstractmethod
    def group(self, id_or_name: str) -> Group:
        """Find a group: by id first, then by name."""

    @abstractmethod
    def groups(self, *, limit: int, marker: str | None) -> Page[Group]:
        """Return groups by id."""

    @abstractmethod
    def delete_group(self, group_id: str, event: Event) -> None:
        """Delete a group with its assignments."""

    @abstractmethod
    def members(self, group_id: str) -> tuple[User, ...]:
        """Return a group's users."""

    @abstractmethod
    def add_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Add a user to a group; no error when there already."""

    @abstractmethod
    def remove_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Remove a user from a group."""

    @abstractmethod
    def create_role(self, role: Role, event: Event) -> None:
        """Add a role."""

    @abstractmethod
    def role(self, id_or_name: str) -> Role:
        """Find a role: by id first, then by name."""

    @abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """Return all roles."""

    @abstractmethod
    def delete_role(self, role_id: str, event: Event) -> None:
        """Delete a role with its assignments."""

    @abstractmethod
    def assign(self, assignment: Assignment, event: Event) -> None:
        """Give a role; no error when given already."""

    @abstractmethod
    def unassign(self, assignment: Assignment, event: Event) -> None:
        """Take a role away. Raises `NotFound` when it was not given."""

    @abstractmethod
    def assignments(
        self, *, project: str | None, user: str | None, group: str | None
    ) -> tuple[Assignment, ...]:
        """Return direct assignments that match."""

    @abstractmethod
    def effective_roles(self, user_id: str, project_id: str) -> frozenset[Role]:
        """Return the roles of a user in a project, groups counted.

        Empty when either is gone or disabled.
        """

    @abstractmethod
    def holds_anywhere(self, user_id: str, role_name: str) -> bool:
        """Whether a user has a role of this name in any project, a disabled one too."""
