"""What administrators do to the embedded directory: each change audited, each loss swept (S4, S7).

The directory commits the cut-off of a loss with the loss itself; the sweep that follows revokes
what was issued before. Looking things up needs no service.
"""

from dataclasses import dataclass

from tatu.core.audit import Event
from tatu.core.errors import Conflict, Denied
from tatu.core.identity import Identity, Role
from tatu.core.keys import PublicKey
from tatu.ports import Assignment, Clock, Group, Ledger, Project, User, UserKey
from tatu.service.audit import event
from tatu.service.revocation import Revocation

MAX_ROLES = 256
"""Each may be an account in every statement, whose readers refuse over 512."""


@dataclass(frozen=True, kw_only=True)
class Administration:
    """Changes the directory.

    Every method raises `Denied` without a fresh sign-in (S7), and what `ports.Directory` raises.
    """

    ledger: Ledger
    revocation: Revocation
    clock: Clock

    # --- projects

    def create_project(self, identity: Identity, project: Project, *, request_id: str) -> None:
        """Add a project."""
        found = self._event(
            "project.created",
            identity,
            project.id,
            request_id,
            project=project.id,
            name=project.name,
        )
        self.ledger.directory.create_project(project, found)

    def enable_project(
        self, identity: Identity, project_id: str, *, enabled: bool, request_id: str
    ) -> Project:
        """Enable a project, or disable it: every certificate of its users ends."""
        action = "project.enabled" if enabled else "project.disabled"
        found = self._event(action, identity, project_id, request_id, project=project_id)
        project = self.ledger.directory.enable_project(project_id, found, enabled=enabled)
        self.revocation.sweep()
        return project

    def delete_project(self, identity: Identity, project_id: str, *, request_id: str) -> None:
        """Delete a project and its assignments: every certificate of its users ends."""
        found = self._event(
            "project.deleted", identity, project_id, request_id, project=project_id
        )
        self.ledger.directory.delete_project(project_id, found)
        self.revocation.sweep()

    # --- users and their keys

    def create_user(self, identity: Identity, user: User, *, request_id: str) -> None:
        """Add a user."""
        found = self._event("user.created", identity, user.id, request_id, name=user.name)
        self.ledger.directory.create_user(user, found)

    def enable_user(
        self, identity: Identity, user_id: str, *, enabled: bool, request_id: str
    ) -> User:
        """Enable a user, or disable one: every token and certificate of theirs ends."""
        action = "user.enabled" if enabled else "user.disabled"
        found = self._event(action, identity, user_id, request_id)
        user = self.ledger.directory.enable_user(user_id, found, enabled=enabled)
        self.revocation.sweep()
        return user

    def delete_user(self, identity: Identity, user_id: str, *, request_id: str) -> None:
        """Delete a user: every token and certificate of theirs ends."""
        found = self._event("user.deleted", identity, user_id, request_id)
        self.ledger.directory.delete_user(user_id, found)
        self.revocation.sweep()

    def add_key(
        self, identity: Identity, user_id: str, key: PublicKey, *, request_id: str
    ) -> UserKey:
        """Let a user sign in with a key. Raises `Conflict` for one with another purpose (S1)."""
        found = self._event("user.key-added", identity, user_id, request_id, key=key.fingerprint)
        added = UserKey(user=user_id, public_key=key, created_at=found.at)
        self.ledger.directory.add_key(added, found)
        return added

    def remove_key(
        self, identity: Identity, user_id: str, fingerprint: str, *, request_id: str
    ) -> None:
        """Take a sign-in key away; the tokens that it got end."""
        found = self._event("user.key-removed", identity, user_id, request_id, key=fingerprint)
        self.ledger.directory.remove_key(user_id, fingerprint, found)

    # --- groups

    def create_group(self, identity: Identity, group: Group, *, request_id: str) -> None:
        """Add a group."""
        found = self._event("group.created", identity, group.id, request_id, name=group.name)
        self.ledger.directory.create_group(group, found)

    def delete_group(self, identity: Identity, group_id: str, *, request_id: str) -> None:
        """Delete a group: its members lose what it gave them."""
        found = self._event("group.deleted", identity, group_id, request_id)
        self.ledger.directory.delete_group(group_id, found)
        self.revocation.sweep()

    def add_member(
        self, identity: Identity, group_id: str, user_id: str, *, request_id: str
    ) -> None:
        """Add a user to a group."""
        found = self._event("group.member-added", identity, group_id, request_id, user=user_id)
        self.ledger.directory.add_member(group_id, user_id, found)

    def remove_member(
        self, identity: Identity, group_id: str, user_id: str, *, request_id: str
    ) -> None:
        """Remove a user from a group, who loses what it gave."""
        found = self._event("group.member-removed", identity, group_id, request_id, user=user_id)
        self.ledger.directory.remove_member(group_id, user_id, found)
        self.revocation.sweep()

    # --- roles: what accounts hosts have follows from them

    def create_role(self, identity: Identity, role: Role, *, request_id: str) -> None:
        """Add a role; hosts get its account with the next statement."""
        found = self._event("role.created", identity, role.id, request_id, name=role.name)
        if len(self.ledger.directory.roles()) >= MAX_ROLES:
            raise Conflict(f"there may be at most {MAX_ROLES} roles")
        self.ledger.directory.create_role(role, found)
        self.ledger.authorities.touch()

    def delete_role(self, identity: Identity, role_id: str, *, request_id: str) -> None:
        """Delete a role: everyone who holds it loses it, hosts lose its account."""
        found = self._event("role.deleted", identity, role_id, request_id)
        self.ledger.directory.delete_role(role_id, found)
        self.ledger.authorities.touch()
        self.revocation.sweep()

    def assign(self, identity: Identity, assignment: Assignment, *, request_id: str) -> None:
        """Give a role in a project to a user or a group."""
        self.ledger.directory.assign(
            assignment, self._assignment("role.assigned", identity, assignment, request_id)
        )

    def unassign(self, identity: Identity, assignment: Assignment, *, request_id: str) -> None:
        """Take a role in a project from a user or a group."""
        self.ledger.directory.unassign(
            assignment, self._assignment("role.unassigned", identity, assignment, request_id)
        )
        self.revocation.sweep()

    def _assignment(
        self, action: str, identity: Identity, assignment: Assignment, request_id: str
    ) -> Event:
        return self._event(
            action,
            identity,
            assignment.role,
            request_id,
            project=assignment.project,
            user=assignment.user,
            group=assignment.group,
        )

    def _event(
        self,
        action: str,
        identity: Identity,
        subject: str,
        request_id: str,
        *,
        project: str | None = None,
        **facts: object,
    ) -> Event:
        """Return the event of a change; whoever holds a stolen token gets no further than this."""
        if not identity.fresh:
            raise Denied(f"a fresh sign-in is needed to change the directory ({action})")
        return event(
            action,
            by=identity,
            at=self.clock(),
            subject=subject,
            authority=project,
            request_id=request_id,
            **facts,
        )
