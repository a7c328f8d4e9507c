"""Local projects, users, groups, roles and assignments.

What takes something away commits its cut-offs with it; what changes nothing leaves no event.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from tatu.core import losses
from tatu.core.audit import Event
from tatu.core.errors import Conflict, NotFound
from tatu.core.identity import Role
from tatu.core.losses import Topic
from tatu.ports import Assignment, Directory, Group, Page, Project, User, UserKey
from tatu.store import columns, purposes
from tatu.store.database import Change, Database
from tatu.store.tables import (
    assignments,
    groups,
    members,
    projects,
    roles,
    tokens,
    user_keys,
    users,
)

Named = TypeVar("Named", Project, User, Group, Role)

MAX_USER_KEYS = 20
"""A key that is one user's is nobody else's: nobody shall collect them."""

_WORDS = {"projects": "project", "users": "user", "groups": "group", "roles": "role"}

# Each request for a certificate and each sweep asks this: it is built once.
_EFFECTIVE_ROLES = (
    select(roles.c.id, roles.c.name)
    .join(assignments, assignments.c.role == roles.c.id)
    .join(projects, projects.c.id == assignments.c.project)
    .where(
        projects.c.id == bindparam("project_id"),
        projects.c.enabled,
        exists().where(users.c.id == bindparam("user_id"), users.c.enabled),
        or_(
            and_(assignments.c.kind == "user", assignments.c.holder == bindparam("user_id")),
            and_(
                assignments.c.kind == "group",
                assignments.c.holder.in_(
                    select(members.c.group).where(members.c.user == bindparam("user_id"))
                ),
            ),
        ),
    )
)


class SqlDirectory(Directory):
    """The embedded identity's memory."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- projects

    def create_project(self, project: Project, event: Event) -> None:
        """Add a project."""
        self._create(projects, event, id=project.id, name=project.name, enabled=project.enabled)

    def project(self, id_or_name: str) -> Project:
        """Find a project."""
        return self._find(projects, Project, id_or_name)

    def projects(self, *, limit: int, marker: str | None) -> Page[Project]:
        """Return projects by id."""
        return self._list(projects, Project, limit, marker)

    def enable_project(self, project_id: str, event: Event, *, enabled: bool) -> Project:
        """Enable or disable a project."""

        def work(change: Change) -> Project:
            if _enable(change.connection, projects, project_id, enabled=enabled):
                ended = [] if enabled else [losses.project(project_id)]
                _append(change, event, ended)
            return Project(**_row(change.connection, projects, project_id)._asdict())

        return self._database.change(work)

    def delete_project(self, project_id: str, event: Event) -> None:
        """Delete a project and its assignments."""

        def work(change: Change) -> None:
            change.connection.execute(
                delete(assignments).where(assignments.c.project == project_id)
            )
            change.connection.execute(delete(tokens).where(tokens.c.project == project_id))
            if _delete(change.connection, projects, project_id):
                _append(change, event, [losses.project(project_id)])

        self._database.change(work)

    # --- users and their keys

    def create_user(self, user: User, event: Event) -> None:
        """Add a user."""
        self._create(users, event, id=user.id, name=user.name, enabled=user.enabled)

    def user(self, id_or_name: str) -> User:
        """Find a user."""
        return self._find(users, User, id_or_name)

    def users(self, *, limit: int, marker: str | None) -> Page[User]:
        """Return users by id."""
        return self._list(users, User, limit, marker)

    def enable_user(self, user_id: str, event: Event, *, enabled: bool) -> User:
        """Enable or disable a user."""

        def work(change: Change) -> User:
            if _enable(change.connection, users, user_id, enabled=enabled):
                if not enabled:
                    change.connection.execute(delete(tokens).where(tokens.c.user == user_id))
                _append(change, event, [] if enabled else [losses.user(user_id)])
            return User(**_row(change.connection, users, user_id)._asdict())

        return self._database.change(work)

    def delete_user(self, user_id: str, event: Event) -> None:
        """Delete a user with all that hangs on them."""

        def work(change: Change) -> None:
            for held in (tokens.c.user, user_keys.c.user, members.c.user):
                change.connection.execute(delete(held.table).where(held == user_id))
            change.connection.execute(delete(assignments).where(_held("user", user_id)))
            if _delete(change.connection, users, user_id):
                _append(change, event, [losses.user(user_id)])

        self._database.change(work)

    def add_key(self, key: UserKey, event: Event) -> None:
        """Let a user sign in with a key."""
        fingerprint = key.public_key.fingerprint

        def work(change: Change) -> None:
            _row(change.connection, users, key.user)
            query = select(user_keys.c.user).where(user_keys.c.fingerprint == fingerprint)
            if change.connection.scalar(query) is not None:
                raise Conflict("the key is somebody's already")
            held = select(func.count()).where(user_keys.c.user == key.user)
            if change.connection.execute(held).scalar_one() >= MAX_USER_KEYS:
                raise Conflict(f"a user may have at most {MAX_USER_KEYS} keys")
            # here, for what is being certified meanwhile waits for this commit or is before it
            if other := purposes.of(change.connection, fingerprint):
                raise Conflict(
                    f"this key is a {' and '.join(sorted(other))} key already;"
                    " make another one to sign in with"
                )
            change.connection.execute(
                insert(user_keys).values(
                    fingerprint=fingerprint,
                    user=key.user,
                    public_key=key.public_key.blob,
                    created_at=key.created_at,
                )
            )
            change.append(event)

        self._database.change(work)

    def keys(self, user_id: str) -> tuple[UserKey, ...]:
        """Return a user's keys, the oldest first."""
        query = (
            select(user_keys)
            .where(user_keys.c.user == user_id)
            .order_by(user_keys.c.created_at, user_keys.c.fingerprint)
        )
        with self._database.read() as connection:
            _row(connection, users, user_id)
            rows = connection.execute(query).all()
        return tuple(
            UserKey(
                user=row.user,
                public_key=columns.public_key(row.public_key),
                created_at=row.created_at,
            )
            for row in rows
        )

    def remove_key(self, user_id: str, fingerprint: str, event: Event) -> None:
        """Take a key away."""

        def work(change: Change) -> None:
            key = and_(user_keys.c.user == user_id, user_keys.c.fingerprint == fingerprint)
            if change.connection.execute(delete(user_keys).where(key)).rowcount:
                token = and_(tokens.c.user == user_id, tokens.c.key == fingerprint)
                change.connection.execute(delete(tokens).where(token))
                # Who signed in with it must show who they are again; the roles are theirs still,
                # so no certificate is swept.
                _append(change, event, [losses.user(user_id)], swept=True)

        self._database.change(work)

    # --- groups and their members

    def create_group(self, group: Group, event: Event) -> None:
        """Add a group."""
        self._create(groups, event, id=group.id, name=group.name)

    def group(self, id_or_name: str) -> Group:
        """Find a group."""
        return self._find(groups, Group, id_or_name)

    def groups(self, *, limit: int, marker: str | None) -> Page[Group]:
        """Return groups by id."""
        return self._list(groups, Group, limit, marker)

    def delete_group(self, group_id: str, event: Event) -> None:
        """Delete a group with its assignments."""

        def work(change: Change) -> None:
            ended = _losses_of_members(change.connection, group_id)
            change.connection.execute(delete(members).where(members.c.group == group_id))
            change.connection.execute(delete(assignments).where(_held("group", group_id)))
            if _delete(change.connection, groups, group_id):
                _append(change, event, ended)

        self._database.change(work)

    def members(self, group_id: str) -> tuple[User, ...]:
        """Return a group's users, by id."""
        query = (
            select(users)
            .join(members, members.c.user == users.c.id)
            .where(members.c.group == group_id)
            .order_by(users.c.id)
        )
        with self._database.read() as connection:
            _row(connection, groups, group_id)
            return tuple(User(**row._asdict()) for row in connection.execute(query))

    def add_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Add a user to a group."""

        def work(change: Change) -> None:
            _row(change.connection, groups, group_id)
            _row(change.connection, users, user_id)
            if _insert_new(change.connection, members, group=group_id, user=user_id):
                change.append(event)

        self._database.change(work)

    def remove_member(self, group_id: str, user_id: str, event: Event) -> None:
        """Remove a user from a group."""

        def work(change: Change) -> None:
            member = and_(members.c.group == group_id, members.c.user == user_id)
            if change.connection.execute(delete(members).where(member)).rowcount:
                given = _projects_of(change.connection, group_id)
                _append(change, event, [losses.user_in_project(user_id, where) for where in given])

        self._database.change(work)

    # --- roles and assignments

    def create_role(self, role: Role, event: Event) -> None:
        """Add a role."""
        self._create(roles, event, id=role.id, name=role.name)

    def role(self, id_or_name: str) -> Role:
        """Find a role."""
        return self._find(roles, Role, id_or_name)

    def roles(self) -> tuple[Role, ...]:
        """Return all roles, by id."""
        with self._database.read() as connection:
            rows = connection.execute(select(roles).order_by(roles.c.id))
            return tuple(Role(**row._asdict()) for row in rows)

    def delete_role(self, role_id: str, event: Event) -> None:
        """Delete a role with its assignments."""

        def work(change: Change) -> None:
            change.connection.execute(delete(assignments).where(assignments.c.role == role_id))
            if _delete(change.connection, roles, role_id):
                _append(change, event, [losses.role(role_id)])

        self._database.change(work)

    def assign(self, assignment: Assignment, event: Event) -> None:
        """Give a role."""
        kind, holder = _holder(assignment)

        def work(change: Change) -> None:
            _row(change.connection, projects, assignment.project)
            _row(change.connection, roles, assignment.role)
            _row(change.connection, users if kind == "user" else groups, holder)
            if _insert_new(
                change.connection,
                assignments,
                project=assignment.project,
                role=assignment.role,
                kind=kind,
                holder=holder,
            ):
                change.append(event)

        self._database.change(work)

    def unassign(self, assignment: Assignment, event: Event) -> None:
        """Take a role away."""
        kind, holder = _holder(assignment)
        given = and_(
            assignments.c.project == assignment.project,
            assignments.c.role == assignment.role,
            _held(kind, holder),
        )

        def work(change: Change) -> None:
            if not change.connection.execute(delete(assignments).where(given)).rowcount:
                raise NotFound("the role was not given")
            who = [holder] if kind == "user" else _users_of(change.connection, holder)
            ended = [losses.user_in_project(user_id, assignment.project) for user_id in who]
            _append(change, event, ended)

        self._database.change(work)

    def assignments(
        self, *, project: str | None, user: str | None, group: str | None
    ) -> tuple[Assignment, ...]:
        """Return direct assignments that match."""
        query = select(assignments).order_by(
            assignments.c.project, assignments.c.role, assignments.c.kind, assignments.c.holder
        )
        if project is not None:
            query = query.where(assignments.c.project == project)
        if user is not None:
            query = query.where(_held("user", user))
        if group is not None:
            query = query.where(_held("group", group))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            Assignment(project=row.project, role=row.role, **{row.kind: row.holder})
            for row in rows
        )

    def effective_roles(self, user_id: str, project_id: str) -> frozenset[Role]:
        """Return the roles of a user in a project, in one query: at one moment."""
        asked = {"user_id": user_id, "project_id": project_id}
        with self._database.read() as connection:
            rows = connection.execute(_EFFECTIVE_ROLES, asked)
            return frozenset(Role(id=row.id, name=row.name) for row in rows)

    def holds_anywhere(self, user_id: str, role_name: str) -> bool:
        """Whether a user has a role of this name in any project."""
        mine = select(members.c.group).where(members.c.user == user_id)
        query = (
            select(roles.c.id)
            .join(assignments, assignments.c.role == roles.c.id)
            .where(
                roles.c.name == role_name,
                or_(
                    _held("user", user_id),
                    and_(assignments.c.kind == "group", assignments.c.holder.in_(mine)),
                ),
            )
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.scalar(query) is not None

    # --- what projects, users, groups and roles have in common

    def _create(self, table: Table, event: Event, **values: object) -> None:
        def work(change: Change) -> None:
            same = or_(table.c.id == values["id"], table.c.name == values["name"])
            if change.connection.scalar(select(table.c.id).where(same)) is not None:
                raise Conflict(f"there is a {_WORDS[table.name]} of this id or name already")
            change.connection.execute(insert(table).values(values))
            change.append(event)

        self._database.change(work)

    def _find(self, table: Table, kind: Callable[..., Named], id_or_name: str) -> Named:
        query = select(table).where(or_(table.c.id == id_or_name, table.c.name == id_or_name))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            raise _absent(table, id_or_name)
        # one thing's name may be another's id: the id wins
        return kind(**min(rows, key=lambda row: row.id != id_or_name)._asdict())

    def _list(
        self, table: Table, kind: Callable[..., Named], limit: int, marker: str | None
    ) -> Page[Named]:
        query = select(table).order_by(table.c.id).limit(limit + 1)
        if marker is not None:
            query = query.where(table.c.id > marker)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        items = tuple(kind(**row._asdict()) for row in rows[:limit])
        return Page(items=items, marker=items[-1].id if len(rows) > limit else None)


def _append(change: Change, event: Event, ended: Sequence[Topic], *, swept: bool = False) -> None:
    facts = change.cut_off(ended, event.action, event.at, swept=swept) if ended else {}
    change.append(event, **facts)


def _absent(table: Table, id_or_name: str) -> NotFound:
    return NotFound(f"there is no {_WORDS[table.name]} {id_or_name!r}")


def _row(connection: Connection, table: Table, row_id: str) -> Row[Any]:
    row = connection.execute(select(table).where(table.c.id == row_id)).one_or_none()
    if row is None:
        raise _absent(table, row_id)
    return row


def _enable(connection: Connection, table: Table, row_id: str, *, enabled: bool) -> bool:
    if _row(connection, table, row_id).enabled is enabled:
        return False
    connection.execute(update(table).where(table.c.id == row_id).values(enabled=enabled))
    return True


def _delete(connection: Connection, table: Table, row_id: str) -> bool:
    return bool(connection.execute(delete(table).where(table.c.id == row_id)).rowcount)


def _insert_new(connection: Connection, table: Table, **values: str) -> bool:
    same = and_(*(table.c[name] == value for name, value in values.items()))
    if connection.execute(select(1).select_from(table).where(same)).one_or_none() is not None:
        return False
    connection.execute(insert(table).values(values))
    return True


def _holder(assignment: Assignment) -> tuple[str, str]:
    match assignment.user, assignment.group:
        case str(user), None:
            return "user", user
        case None, str(group):
            return "group", group
    raise ValueError("an assignment has a user or a group")


def _held(kind: str, holder: str) -> ColumnElement[bool]:
    return and_(assignments.c.kind == kind, assignments.c.holder == holder)


def _projects_of(connection: Connection, group_id: str) -> Sequence[str]:
    query = select(assignments.c.project).distinct().where(_held("group", group_id))
    return connection.scalars(query).all()


def _users_of(connection: Connection, group_id: str) -> Sequence[str]:
    return connection.scalars(select(members.c.user).where(members.c.group == group_id)).all()


def _losses_of_members(connection: Connection, group_id: str) -> list[Topic]:
    return [
        losses.user_in_project(user_id, where)
        for user_id in _users_of(connection, group_id)
        for where in _projects_of(connection, group_id)
    ]
