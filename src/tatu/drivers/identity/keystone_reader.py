"""What Keystone tells Tatu's own user, who may read all of the system and change nothing (S21).

An absence is believed only from Keystone itself, only in its answer about the very thing that was
asked for, and only by a token that sees the whole system: with a token of another scope, or behind
a proxy that has lost its way, everything would be absent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from keystoneauth1 import exceptions
from keystoneauth1.access import AccessInfo
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.plugin import AUTH_INTERFACE
from keystoneauth1.session import Session
from msgspec import DecodeError, Raw, Struct, field
from msgspec.json import decode

from tatu.core.errors import Unavailable
from tatu.core.identity import Role
from tatu.drivers.openstack import CloudLine, Service, SignIn, aware

ACCESS_RULES = "1"
"""The version of access rules that whoever asks with it promises to enforce."""

_WHERE = {"interface": AUTH_INTERFACE, "version": (3,)}
_PAGE = "1000"
_PATIENCE = 60.0
"""Seconds to wait for all that was assigned: Keystone sends nothing before it has all of it."""


T = TypeVar("T")
N_co = TypeVar("N_co", bound="_Named", covariant=True)


class UserRecord(Struct):
    """A user; Keystone, too, takes one of whom it is not said for enabled.

    `federated` is by what other sources know them, when they are asked for alone.
    """

    id: str
    name: str
    domain_id: str | None = None
    enabled: bool = True
    federated: list[Any] = []


class ProjectRecord(Struct):
    """A project; one without a domain is a domain itself, and the parent of those on top."""

    id: str
    name: str
    domain_id: str | None = None
    enabled: bool = True
    parent_id: str | None = None


class DomainRecord(Struct):
    """A domain."""

    id: str
    name: str = ""
    enabled: bool = True


class _RoleRecord(Struct):
    id: str
    name: str = ""
    domain_id: str | None = None


class _Id(Struct):
    id: str


class AssignmentRecord(Struct):
    """Who has which role; the role's name only where names were asked for."""

    user: _Id
    role: _RoleRecord


class _Scope(Struct):
    project: _Id | None = None
    domain: _Id | None = None
    inherited_to: str | None = field(default=None, name="OS-INHERIT:inherited_to")


class GrantRecord(Struct):
    """What was assigned to a user or to a group, before anything follows from it."""

    role: _Id
    scope: _Scope
    user: _Id | None = None
    group: _Id | None = None


class _Inference(Struct):
    prior_role: _Id
    implies: list[_Id]


class _Inferences(Struct):
    role_inferences: list[_Inference]


class _Expiring(Struct):
    expires_at: datetime | None = None

    @property
    def ends(self) -> datetime | None:
        """When it expires, None for never."""
        return None if self.expires_at is None else aware(self.expires_at)


class _User(Struct):
    user: UserRecord


class _Project(Struct):
    project: ProjectRecord


class _Domain(Struct):
    domain: DomainRecord


class _ApplicationCredential(Struct):
    application_credential: _Expiring


class TrustRecord(_Expiring, kw_only=True):
    """A trust, and who acts by it."""

    trustee_user_id: str


class _Trust(Struct):
    trust: TrustRecord


class _Links(Struct):
    next: str | None = None


class _Page(Struct, kw_only=True):
    links: _Links = field(default_factory=_Links)
    truncated: bool = False


class _Users(_Page, kw_only=True):
    items: list[UserRecord] = field(name="users")


class _Projects(_Page, kw_only=True):
    items: list[ProjectRecord] = field(name="projects")


class _Domains(_Page, kw_only=True):
    items: list[DomainRecord] = field(name="domains")


class _Roles(_Page, kw_only=True):
    items: list[_RoleRecord] = field(name="roles")


class _Assignments(_Page, kw_only=True):
    items: list[AssignmentRecord] = field(name="role_assignments")


class _Grants(_Page, kw_only=True):
    items: list[Raw] = field(name="role_assignments")


class _OwnGrants(_Page, kw_only=True):
    items: list[GrantRecord] = field(name="role_assignments")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


class _Paged(Protocol[N_co]):
    links: _Links
    truncated: bool

    @property
    def items(self) -> Sequence[N_co]: ...


class Reader:
    """Asks Keystone; every method raises `Unavailable` for what is no answer."""

    def __init__(self, *, session: Session, auth: BaseIdentityPlugin) -> None:
        line = CloudLine("Keystone")
        self._sign_in = SignIn(auth, line)
        self._keystone = Service(name="Keystone", session=session, line=line, where=_WHERE)

    def token(self, token: str) -> Mapping[str, Any]:
        """Return what Keystone says of a caller's token. Raises `NotFound` when it is worthless.

        The catalog comes with it: access rules are judged by it.
        """
        headers = {"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": ACCESS_RULES}
        return self._ask("/auth/tokens", dict[str, Any], "", headers, foreign=True)

    def user(self, user: str) -> UserRecord:
        """Return a user. Raises `NotFound`."""
        return self._ask(f"/users/{_quoted(user)}", _User, user).user

    def project(self, project: str) -> ProjectRecord:
        """Return a project. Raises `NotFound`."""
        return self._ask(f"/projects/{_quoted(project)}", _Project, project).project

    def domain(self, domain: str) -> DomainRecord:
        """Return a domain. Raises `NotFound`."""
        return self._ask(f"/domains/{_quoted(domain)}", _Domain, domain).domain

    def application_credential_ends(self, user: str, credential: str) -> datetime | None:
        """Return when an application credential expires, None for never. Raises `NotFound`."""
        path = f"/users/{_quoted(user)}/application_credentials/{_quoted(credential)}"
        found = self._ask(path, _ApplicationCredential, credential)
        return found.application_credential.ends

    def trust(self, trust: str) -> TrustRecord:
        """Return a trust. Raises `NotFound`."""
        return self._ask(f"/OS-TRUST/trusts/{_quoted(trust)}", _Trust, trust).trust

    def roles(self) -> frozenset[Role]:
        """Return the roles of the whole cloud; those of one domain count nowhere (S5)."""
        found = self._pages("/roles", _Roles)
        return frozenset(Role(id=r.id, name=r.name) for r in found if r.domain_id is None)

    def roles_of(self, user: str, project: str) -> frozenset[Role]:
        """Return the roles that a user has in a project: inherited, implied and by group, too.

        Raises `NotFound` for no project.
        """
        query = {"user.id": user, "scope.project.id": project, "include_names": "true"}
        found = self._assignments(project, query)
        return frozenset(Role(id=each.role.id, name=each.role.name) for each in found)

    def assignments(self, project: str) -> list[AssignmentRecord]:
        """Return who has which role in a project; the roles without their names.

        Raises `NotFound` for no project.
        """
        return self._assignments(project, {"scope.project.id": project})

    def grants(self) -> Iterator[GrantRecord]:
        """Yield all that was assigned in the cloud, as it was."""
        found = self._ask("/role_assignments", _Grants, patience=_PATIENCE)
        _check_whole(found, "/role_assignments")
        try:
            for each in found.items:  # one by one: all at once take ten times the memory
                yield decode(each, type=GrantRecord)
        except DecodeError as error:
            raise Unavailable(f"Keystone's assignments cannot be read: {error}") from error

    def own_grants(self) -> Iterable[GrantRecord]:
        """Return what was assigned to Tatu's own user."""
        query = urlencode({"user.id": self._access().user_id})
        found = self._ask(f"/role_assignments?{query}", _OwnGrants)
        _check_whole(found, "/role_assignments")
        return found.items

    def implied(self) -> Mapping[str, frozenset[str]]:
        """Return which roles each role implies by itself."""
        found = self._ask("/role_inferences", _Inferences).role_inferences
        return {each.prior_role.id: frozenset(r.id for r in each.implies) for each in found}

    def members(self, group: str) -> list[str]:
        """Return who is in a group. Raises `NotFound`."""
        path = f"/groups/{_quoted(group)}/users"
        return [user.id for user in self._pages(path, _Users, named=group)]

    def projects(self) -> Iterable[ProjectRecord]:
        """Yield all projects."""
        return self._pages("/projects", _Projects, limit=_PAGE)

    def domains(self) -> Iterable[DomainRecord]:
        """Yield all domains."""
        return self._pages("/domains", _Domains, limit=_PAGE)

    def users(self, domain: str) -> Iterable[UserRecord]:
        """Yield all users of a domain: each may have a directory of its own."""
        return self._pages("/users", _Users, limit=_PAGE, domain_id=domain)

    def _assignments(self, project: str, query: Mapping[str, str]) -> list[AssignmentRecord]:
        """Return assignments, which come whole: they have no ids to go on after."""
        path = f"/role_assignments?{urlencode({**query, 'effective': 'true'})}"
        found = self._ask(path, _Assignments, project)
        _check_whole(found, "/role_assignments")
        return found.items

    def _pages(
        self, path: str, shape: type[_Paged[N_co]], *, named: str | None = None, **query: str
    ) -> Iterator[N_co]:
        """Yield what is listed, page by page.

        A list that is cut off, or that begins anew where it should go on, is no answer: what is
        missing in it would be taken for gone.
        """
        marker: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = self._ask(f"{path}?{urlencode({**query, **marker})}", shape, named)
            ids = {each.id for each in page.items}
            if (page.truncated and not page.links.next) or not seen.isdisjoint(ids):
                raise _cut_off(path)
            yield from page.items
            if not (page.links.next and page.items):
                return
            seen |= ids
            marker = {"marker": page.items[-1].id}

    def _ask(
        self,
        path: str,
        shape: type[T],
        named: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        foreign: bool = False,
        patience: float | None = None,
    ) -> T:
        """GET a path; a 404 is believed when it speaks of what is `named`, of None never."""
        self._access()
        return self._keystone.get(
            path,
            shape,
            auth=self._sign_in.auth,
            named=named,
            headers=headers,
            foreign=foreign,
            patience=patience,
        )

    def _access(self) -> AccessInfo:
        """Return Tatu's own token, which sees the whole system."""
        try:
            access = self._sign_in.access(self._keystone.session)
        except exceptions.Unauthorized as error:
            raise Unavailable("Keystone does not let Tatu's own user sign in") from error
        if not access.system_scoped:
            raise Unavailable(
                "Tatu's own token is not scoped to the system: Keystone would hide from it what"
                " is there (set system_scope = all)"
            )
        return access


def _check_whole(page: _Page, path: str) -> None:
    """Raise `Unavailable` for a part of what has no ids to go on after."""
    if page.truncated or page.links.next:
        raise _cut_off(path)


def _cut_off(path: str) -> Unavailable:
    return Unavailable(f"Keystone's list at {path} is cut off")


def _quoted(name: str) -> str:
    return quote(name, safe="")
