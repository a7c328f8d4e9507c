"""Who asks."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from tatu.core.identity import Identity, Role
from tatu.ports.directory import Project, User


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an identity driver sees of a request; header names are lower case.

    Who asks is judged before the body is read: until then `body_digest` is that of no body.
    """

    method: str
    path: str
    body_digest: str
    headers: Mapping[str, str]


class IdentityProvider(Protocol):
    """Tells who a caller is and what roles anyone has now."""

    @property
    @abstractmethod
    def sign_in_url(self) -> str:
        """Where callers get their tokens: the address of a Keystone, or nothing for this API."""

    @property
    @abstractmethod
    def lag(self) -> timedelta:
        """How long after it told of a loss its answers may still be those from before it."""

    @abstractmethod
    def authenticate(
        self, request: Request, *, cached: bool = True, strange: Callable[[], None] = lambda: None
    ) -> Identity:
        """Return the caller; `cached=False` asks the source itself.

        `strange` is called before another service is asked about whom nobody remembers; what it
        raises is let out. Raises `Unauthenticated` or `Unavailable`, never answers anonymous.
        """

    @abstractmethod
    def effective_roles(self, subject: str, project: str) -> frozenset[Role]:
        """Return the roles that a user has in a project at this moment, uncached.

        Empty for a user or project that is gone or disabled. Raises `Unavailable`.
        """

    @abstractmethod
    def roles(self, *, since: datetime | None = None) -> frozenset[Role]:
        """Return every role that could open an account. Raises `Unavailable`.

        As of a minute ago at most; with `since` as of then or later, however long that is ago.
        """

    @abstractmethod
    def project(self, project_id: str) -> Project:
        """Return a project, asked for itself and uncached; disabled with its domain.

        Raises `NotFound` only when the source says of this very id that it is not there, and
        `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def user(self, subject: str) -> User:
        """Return a user, as `project` returns a project."""

    @abstractmethod
    def lent(self, subject: str, origin: str) -> None:
        """Return when what a user lent stands, as of this moment: see `Identity.origin`.

        What was not lent always stands. Raises `NotFound` only when the source says of this very
        credential or trust that it is no more, or that a trust's trustee is gone or disabled, and
        `Unavailable` for all else that is no answer.
        """

    @abstractmethod
    def projects(self, *, since: datetime | None = None) -> Iterator[Project]:
        """Yield the projects as a listing tells: one that is missing may be there all the same.

        With `since` as of then or later. Raises `Unavailable`.
        """

    @abstractmethod
    def holders(
        self, project: str, *, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        """Return who has which roles in a project, as a listing tells: quick.

        What is in it was so a minute ago at most; with `since` then or later: whoever compares a
        whole cloud lists it once. What is missing proves nothing before `effective_roles` agrees.
        Raises `Unavailable`.
        """

    @abstractmethod
    def out_of_sight(self) -> tuple[str, ...]:
        """Return the names of the domains whose instances Tatu's own user may not look at.

        Raises `Unavailable`.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong when the source does not answer."""
