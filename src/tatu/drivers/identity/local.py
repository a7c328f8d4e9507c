"""Identities of the embedded directory, by bearer token (security.md S7)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from oslo_config import cfg

from tatu.core import bearer
from tatu.core.errors import NotFound, Unauthenticated
from tatu.core.identity import EMBEDDED_ISSUER, Identity, Role
from tatu.drivers.identity.remembered import Remembered
from tatu.drivers.loading import Driver
from tatu.ports import (
    Clock,
    CutOffs,
    Directory,
    IdentityProvider,
    Project,
    Request,
    SignIns,
    User,
)

ADMINISTRATOR = "admin"
CACHED = timedelta(seconds=10)
_PAGE = 1000

F = TypeVar("F", Project, User)


@dataclass(frozen=True, kw_only=True)
class Local(IdentityProvider):
    """Knows whoever signed in to the embedded directory.

    An identity may be up to 10 s old when `cached`; its mark tells (S4). Those who may administer
    are looked up each time.
    """

    directory: Directory
    sign_ins: SignIns
    cut_offs: CutOffs
    clock: Clock
    hardware_keys_for_administrators: bool = False
    _remembered: Remembered = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Remember nobody yet."""
        remembered = Remembered(lifetime=CACHED, cut_offs=self.cut_offs)
        object.__setattr__(self, "_remembered", remembered)

    @property
    def lag(self) -> timedelta:
        """None: the ledger is asked itself."""
        return timedelta()

    @property
    def sign_in_url(self) -> str:
        """Nowhere else: this API gives tokens."""
        return ""

    def authenticate(
        self, request: Request, *, cached: bool = True, strange: Callable[[], None] = lambda: None
    ) -> Identity:
        """Return whom the bearer token speaks for."""
        digest = bearer.digest(bearer.from_header(request.headers.get("authorization")))
        found = self._remembered.get(digest, self.clock()) if cached else None
        if found is None:
            found = self._find(digest)
            if not found.fresh:
                self._remembered.put(digest, found)
        return found

    def effective_roles(self, subject: str, project: str) -> frozenset[Role]:
        """Return the roles that a user has in a project at this moment."""
        return self.directory.effective_roles(subject, project)

    def roles(self, *, since: datetime | None = None) -> frozenset[Role]:
        """Return all roles."""
        return frozenset(self.directory.roles())

    def project(self, project_id: str) -> Project:
        """Return a project of the directory."""
        return _of_id(project_id, self.directory.project(project_id))

    def user(self, subject: str) -> User:
        """Return a user of the directory."""
        return _of_id(subject, self.directory.user(subject))

    def lent(self, subject: str, origin: str) -> None:
        """Nobody lends anything here."""

    def projects(self, *, since: datetime | None = None) -> Iterator[Project]:
        """Yield all projects."""
        marker = None
        while True:
            page = self.directory.projects(limit=_PAGE, marker=marker)
            yield from page.items
            if (marker := page.marker) is None:
                return

    def holders(
        self, project: str, *, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        """Return whom the assignments of a project name, and what they have there."""
        given = self.directory.assignments(project=project, user=None, group=None)
        users = {each.user for each in given if each.user is not None}
        for group in {each.group for each in given if each.group is not None}:
            users |= {member.id for member in self.directory.members(group)}
        held = {user: self.directory.effective_roles(user, project) for user in users}
        return {user: roles for user, roles in held.items() if roles}

    def out_of_sight(self) -> tuple[str, ...]:
        """Return none: there are no domains."""
        return ()

    def check(self) -> None:
        """Ask the directory something."""
        self.cut_offs.mark()

    def forget(self, digest: str) -> None:
        """Drop what is remembered of a token, because it was ended."""
        self._remembered.forget(digest)

    def _find(self, digest: str) -> Identity:
        mark = self.cut_offs.mark()  # before anything is looked up (S4)
        now = self.clock()
        token = self.sign_ins.token(digest, now)
        try:
            user = self.directory.user(token.user)
        except NotFound:
            raise Unauthenticated("the token's user is gone") from None
        keys = {key.public_key.fingerprint: key.public_key for key in self.directory.keys(user.id)}
        # Taking a key away ends its tokens; one that was just being made could have been missed.
        if not user.enabled or user.id != token.user or token.key not in keys:
            raise Unauthenticated("the token's user or key is disabled")
        project = token.project
        identity = Identity(
            issuer=EMBEDDED_ISSUER,
            subject=user.id,
            name=user.name,
            project=project,
            roles=frozenset()
            if project is None
            else self.directory.effective_roles(user.id, project),
            mark=mark,
            validated_at=now,
            expires_at=token.expires_at,
            fresh=token.fresh,
        )
        # The role, or the option, may be younger than the token.
        if (
            self.hardware_keys_for_administrators
            and not keys[token.key].hardware
            and (
                ADMINISTRATOR in identity.role_names
                or (token.fresh and self.directory.holds_anywhere(user.id, ADMINISTRATOR))
            )
        ):
            raise Unauthenticated("an administrator signs in with a security key (sk-…) here")
        return identity


def _of_id(wanted: str, found: F) -> F:
    """Return what was found by id; the directory finds by name, too."""
    if found.id != wanted:
        raise NotFound(f"there is none with the id {wanted!r}")
    return found


def _build(
    options: cfg.ConfigOpts.GroupAttr,
    *,
    directory: Directory,
    sign_ins: SignIns,
    cut_offs: CutOffs,
    clock: Clock,
) -> Local:
    return Local(
        directory=directory,
        sign_ins=sign_ins,
        cut_offs=cut_offs,
        clock=clock,
        hardware_keys_for_administrators=options.hardware_keys_for_administrators,
    )


OPTIONS = (
    cfg.BoolOpt(
        "hardware_keys_for_administrators",
        default=False,
        help="Whoever has the role admin in any project needs a security key (FIDO): another key"
        " signs them in only where they are no administrator, and never to administer. Keys are"
        " not attested: that one is made in hardware is the word of whoever adds it.",
    ),
)

driver = Driver(section="identity_local", options=OPTIONS, build=_build)
