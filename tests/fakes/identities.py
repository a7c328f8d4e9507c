"""Identities of the ledger's directory, without tokens: a request is whom its header names."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from tatu.core.errors import NotFound, Unauthenticated, Unavailable
from tatu.core.identity import Identity, Role
from tatu.ports import Clock, IdentityProvider, Ledger, Project, Request, User
from tatu.service.paging import every

T = TypeVar("T", Project, User)


def request(user: str, project: str) -> Request:
    """The request of a user who is signed in to a project."""
    return Request(
        method="POST", path="/", body_digest="", headers={"user": user, "project": project}
    )


class FakeIdentities(IdentityProvider):
    """Asks the directory each time; with `out` the cloud does not answer."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.out = False
        self.asked = 0
        self.judged = 0
        self.listed = 0
        self.taken_back: set[str] = set()
        self._ledger = ledger
        self._clock = clock

    lag = timedelta()

    @property
    def sign_in_url(self) -> str:
        return ""

    def authenticate(
        self, request: Request, *, cached: bool = True, strange: Callable[[], None] = lambda: None
    ) -> Identity:
        self.check()
        self.asked += 1
        mark = self._ledger.cut_offs.mark()
        try:
            user = self._ledger.directory.user(request.headers["user"])
        except NotFound:
            raise Unauthenticated("no such user") from None
        if not user.enabled:
            raise Unauthenticated("the user is disabled")
        project = request.headers["project"]
        now = self._clock()
        return Identity(
            issuer="local",
            subject=user.id,
            name=user.name,
            project=project,
            roles=self.effective_roles(user.id, project),
            mark=mark,
            validated_at=now,
            expires_at=now + timedelta(hours=1),
            fresh=request.headers.get("fresh") == "yes",
        )

    def effective_roles(self, subject: str, project: str) -> frozenset[Role]:
        self.check()
        self.judged += 1
        return self._ledger.directory.effective_roles(subject, project)

    def roles(self, *, since: datetime | None = None) -> frozenset[Role]:
        self.check()
        return frozenset(self._ledger.directory.roles())

    def project(self, project_id: str) -> Project:
        self.check()
        return _by_id(project_id, self._ledger.directory.project)

    def user(self, subject: str) -> User:
        self.check()
        return _by_id(subject, self._ledger.directory.user)

    def lent(self, subject: str, origin: str) -> None:
        self.check()
        if origin in self.taken_back:
            raise NotFound(f"there is no {origin} any more")

    def projects(self, *, since: datetime | None = None) -> Iterator[Project]:
        self.check()
        return every(self._ledger.directory.projects)

    def holders(
        self, project: str, *, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        self.check()
        self.listed, judged = self.listed + 1, self.judged
        users = [user.id for user in every(self._ledger.directory.users)]
        held = {user: self.effective_roles(user, project) for user in users}
        self.judged = judged
        return {user: roles for user, roles in held.items() if roles}

    def out_of_sight(self) -> tuple[str, ...]:
        self.check()
        return ()

    def check(self) -> None:
        if self.out:
            raise Unavailable("the cloud does not answer")


def _by_id(wanted: str, find: Callable[[str], T]) -> T:
    found = find(wanted)
    if found.id != wanted:  # the directory finds by name, too
        raise NotFound(f"there is none with the id {wanted!r}")
    return found
