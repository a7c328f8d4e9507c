"""What Keystone tells Tatu's own user, who may read all of the system and change nothing (S21).

An absence is believed only from Keystone itself, only in its answer about the very thing that was
asked for, and only by a token that sees the whole system: with a token of another scope, or behind
a proxy that has lost its way, everything would be absent.
"""

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.plugin import AUTH_INTERFACE
from keystoneauth1.session import Session
from msgspec import Struct, field

from tatu.core.errors import NotFound, Unavailable
from tatu.core.identity import Role
from tatu.drivers.identity.keystone_line import Line

ACCESS_RULES = "1"
"""The version of access rules that whoever asks with it promises to enforce."""

_WHERE = {"interface": AUTH_INTERFACE, "version": (3,)}
_RETRIES = 1  # of a connection that was closed just then
_PAGE = 1000
_OK = 200
_NOT_FOUND = 404


class UserRecord(Struct):
    """A user; Keystone, too, takes one of whom it is not said for enabled."""

    id: str
    name: str
    domain_id: str | None = None
    enabled: bool = True


class ProjectRecord(Struct):
    """A project; one without a domain is a domain itself."""

    id: str
    name: str
    domain_id: str | None = None
    enabled: bool = True


class DomainRecord(Struct):
    """A domain."""

    id: str
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


class _Expiring(Struct):
    expires_at: datetime | None = None


class _User(Struct):
    user: UserRecord


class _Project(Struct):
    project: ProjectRecord


class _Domain(Struct):
    domain: DomainRecord


class _ApplicationCredential(Struct):
    application_credential: _Expiring


class _Trust(Struct):
    trust: _Expiring


class _Links(Struct):
    next: str | None = None


class _Page(Struct):
    links: _Links = field(default_factory=_Links)


class _Users(_Page, kw_only=True):
    users: list[UserRecord]


class _Projects(_Page, kw_only=True):
    projects: list[ProjectRecord]


class _Domains(_Page, kw_only=True):
    domains: list[DomainRecord]


class _Roles(Struct):
    roles: list[_RoleRecord]


class _Assignments(Struct):
    role_assignments: list[AssignmentRecord]


class _Error(Struct):
    code: int
    message: str


class _Failure(Struct):
    error: _Error


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Asks Keystone; every method raises `Unavailable` for what is no answer."""

    session: Session
    auth: BaseIdentityPlugin
    _line: Line = dataclasses.field(default_factory=Line, init=False, repr=False)
    _signing_in: threading.Lock = dataclasses.field(
        default_factory=threading.Lock, init=False, repr=False
    )

    def token(self, token: str) -> Mapping[str, Any]:
        """Return what Keystone says of a caller's token. Raises `NotFound` when it is worthless.

        The catalog comes with it: access rules are judged by it.
        """
        headers = {"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": ACCESS_RULES}
        return self._ask("/auth/tokens", dict[str, Any], "", headers)

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
        return _aware(found.application_credential.expires_at)

    def trust_ends(self, trust: str) -> datetime | None:
        """Return when a trust expires, None for never. Raises `NotFound`."""
        found = self._ask(f"/OS-TRUST/trusts/{_quoted(trust)}", _Trust, trust)
        return _aware(found.trust.expires_at)

    def roles(self) -> frozenset[Role]:
        """Return the roles of the whole cloud; those of one domain count nowhere (S5)."""
        found = self._ask("/roles", _Roles).roles
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

    def projects(self) -> Iterator[ProjectRecord]:
        """Yield all projects."""
        marker = ""
        while True:
            page = self._ask(_page("/projects", marker), _Projects)
            yield from page.projects
            if not (page.links.next and page.projects):
                return
            marker = page.projects[-1].id

    def domains(self) -> Iterator[DomainRecord]:
        """Yield all domains."""
        marker = ""
        while True:
            page = self._ask(_page("/domains", marker), _Domains)
            yield from page.domains
            if not (page.links.next and page.domains):
                return
            marker = page.domains[-1].id

    def users(self, domain: str) -> Iterator[UserRecord]:
        """Yield all users of a domain: each may have a directory of its own."""
        marker = ""
        while True:
            page = self._ask(_page("/users", marker, domain_id=domain), _Users)
            yield from page.users
            if not (page.links.next and page.users):
                return
            marker = page.users[-1].id

    def _assignments(self, project: str, query: Mapping[str, str]) -> list[AssignmentRecord]:
        path = f"/role_assignments?{urlencode({**query, 'effective': 'true'})}"
        return self._ask(path, _Assignments, project).role_assignments

    def _ask(
        self,
        path: str,
        shape: type[T],
        named: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """GET a path; a 404 is believed when it speaks of what is `named`, of None never."""
        with self._line.asking() as tries:
            self._sign_in(tries=tries)
            # What answers elsewhere is not Keystone, and must not get a token.
            answer = self.session.get(
                path,
                auth=self.auth,
                endpoint_filter=_WHERE,
                headers=dict(headers or {}),
                connect_retries=_RETRIES,
                raise_exc=False,
                redirect=False,
            )
        if answer.status_code == _NOT_FOUND and _is_absence(answer.content, named):
            raise NotFound(f"Keystone has none of the id {named!r}")
        if answer.status_code != _OK:
            raise Unavailable(f"Keystone answered {answer.status_code} to Tatu's own user")
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.DecodeError as error:
            raise Unavailable(f"Keystone's answer cannot be read: {error}") from error

    def _sign_in(self, *, tries: bool) -> None:
        """Have a token that sees the whole system. Raises `Unavailable` for one of another scope.

        keystoneauth lets one caller after the other sign in, each in the full time: of those who
        queue up, the first that fails speaks for all.
        """
        with self._signing_in:
            if self._line.broken and not tries:
                raise Unavailable("Keystone does not let Tatu's own user sign in")
            access = self.auth.get_access(self.session)
        if not access.system_scoped:
            raise Unavailable(
                "Tatu's own token is not scoped to the system: Keystone would hide from it what"
                " is there (set system_scope = all)"
            )


def _is_absence(body: bytes, named: str | None) -> bool:
    """Tell whether a 404 is Keystone's word on this very thing, and not a lost path."""
    if named is None:
        return False
    try:
        error = msgspec.json.decode(body, type=_Failure).error
    except msgspec.DecodeError:
        return False
    if error.code != _NOT_FOUND:
        return False
    # A path that leads nowhere is told with the address, in which the id stands, too.
    return not named or (named in error.message and f"/{named}" not in error.message)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _page(path: str, marker: str, **query: str) -> str:
    more = {"marker": marker} if marker else {}
    return f"{path}?{urlencode({**query, 'limit': _PAGE, **more})}"


def _aware(time: datetime | None) -> datetime | None:
    """Return a time as UTC; Keystone leaves that unsaid."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
