"""Identities of an OpenStack, by Keystone's tokens (security.md S4, S5, S9, S21).

A token that is seen for the first time costs one round trip; for a minute it then costs none.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from keystoneauth1 import loading
from oslo_config import cfg

from tatu.core import own
from tatu.core.errors import Malformed, NotFound, Unauthenticated
from tatu.core.identity import APPLICATION_CREDENTIAL, LENT, TRUST, Identity, Role
from tatu.drivers import openstack
from tatu.drivers.identity import keystone_tokens
from tatu.drivers.identity.keystone_listings import Listings, Roles
from tatu.drivers.identity.keystone_reader import Reader
from tatu.drivers.identity.keystone_tokens import Policy, Token, Validation
from tatu.drivers.identity.remembered import Remembered
from tatu.drivers.loading import Driver
from tatu.drivers.together import Together
from tatu.ports import Clock, CutOffs, IdentityProvider, Project, Request, User

SECTION = "identity_keystone"
LOG = structlog.get_logger("tatu.identity")
REMEMBERED = timedelta(seconds=60)

LAG = timedelta(seconds=1)
"""Keystone tells of some losses some milliseconds before it empties its own cache of them."""


@dataclass(frozen=True, kw_only=True)
class Keystone(IdentityProvider):
    """Knows whoever brings a token of Keystone.

    An identity may be up to a minute old when `cached`; its mark tells (S4). One by federation
    is good for certificates of `federated_validity` at most: nobody tells when its roles end.
    """

    url: str
    reader: Reader
    validation: Validation
    listings: Listings
    federated_validity: timedelta
    cut_offs: CutOffs
    clock: Clock
    _remembered: Remembered = field(init=False, repr=False)
    _together: Together[Identity] = field(default_factory=Together, init=False, repr=False)

    def __post_init__(self) -> None:
        """Remember nobody yet."""
        remembered = Remembered(lifetime=REMEMBERED, cut_offs=self.cut_offs)
        object.__setattr__(self, "_remembered", remembered)

    @property
    def sign_in_url(self) -> str:
        """Keystone's address, as callers know it."""
        return self.url

    @property
    def lag(self) -> timedelta:
        """Its cache may be older than what it tells."""
        return LAG

    def authenticate(
        self, request: Request, *, cached: bool = True, strange: Callable[[], None] = lambda: None
    ) -> Identity:
        """Return whom the token speaks for; `cached=False` asks Keystone."""
        text = keystone_tokens.text(request.headers)
        # What is confined by access rules is remembered for one method and path only.
        anywhere, here = _digest(text), _digest(text, request.method, request.path)
        now = self.clock()
        found = self._remembered.get(anywhere, now) or self._remembered.get(here, now)
        if found is None:
            strange()
        elif cached:
            return found

        def question() -> Identity:
            try:
                token, identity = self._find(request, text)
            except Unauthenticated:
                self._remembered.forget(anywhere)
                self._remembered.forget(here)
                raise
            self._remembered.put(here if token.restricted else anywhere, identity)
            return identity

        return self._together.ask(here, question) if cached else question()

    def effective_roles(self, subject: str, project: str) -> frozenset[Role]:
        """Return the roles that a user has in a project: inherited, implied and by group, too."""
        try:
            user, place = self.reader.user(subject), self.reader.project(project)
            enabled = user.enabled and place.enabled
            for domain in {user.domain_id, place.domain_id} - {None}:
                enabled = enabled and self._domain_enabled(domain)
            return self.reader.roles_of(subject, project) if enabled else frozenset()
        except NotFound:
            return frozenset()

    def roles(self, *, since: datetime | None = None) -> frozenset[Role]:
        """Return the roles of the whole cloud."""
        return self.listings.roles.all(since)

    def project(self, project_id: str) -> Project:
        """Return a project of Keystone."""
        found = self.reader.project(project_id)
        enabled = found.enabled and self._domain_enabled(found.domain_id)
        return Project(id=found.id, name=found.name, enabled=enabled)

    def user(self, subject: str) -> User:
        """Return a user of Keystone."""
        found = self.reader.user(subject)
        enabled = found.enabled and self._domain_enabled(found.domain_id)
        return User(id=found.id, name=found.name, enabled=enabled, federated=bool(found.federated))

    def lent(self, subject: str, origin: str) -> None:
        """Ask for the application credential or the trust itself."""
        if origin.startswith(APPLICATION_CREDENTIAL):
            credential = origin.removeprefix(APPLICATION_CREDENTIAL)
            self.reader.application_credential_ends(subject, credential)
        elif origin.startswith(TRUST):
            trustee = self.reader.trust(origin.removeprefix(TRUST)).trustee_user_id
            if not self.user(trustee).enabled:
                raise NotFound("the trustee is disabled")

    def projects(self, *, since: datetime | None = None) -> Iterator[Project]:
        """Yield all projects."""
        return self.listings.projects(since)

    def holders(
        self, project: str, *, since: datetime | None = None
    ) -> Mapping[str, frozenset[Role]]:
        """Return who has which roles in a project; who is enabled, as of half a minute ago."""
        return self.listings.holders(project, since)

    def out_of_sight(self) -> tuple[str, ...]:
        """Return the domains that came after Tatu was registered: it has no role there."""
        roles = {role.id for role in self.reader.roles() if role.name == own.INVENTORY_ROLE}
        seen = {
            grant.scope.domain.id
            for grant in self.reader.own_grants()
            if grant.role.id in roles and grant.scope.domain and grant.scope.inherited_to
        }
        domains = self.reader.domains()
        return tuple(each.name for each in domains if each.enabled and each.id not in seen)

    def check(self) -> None:
        """Ask Keystone for its roles, with Tatu's own user."""
        self.reader.roles()

    def _find(self, request: Request, text: str) -> tuple[Token, Identity]:
        mark = self.cut_offs.mark()  # before anything is looked up (S4)
        now = self.clock()
        token = self.validation.token(request, text)
        project, roles = token.scope
        return token, Identity(
            issuer=self.url,
            subject=token.user.id,
            name=token.user.name,
            project=project,
            roles=roles,
            mark=mark,
            validated_at=now,
            expires_at=token.expires_at,
            origin=token.origin,
            trustee="" if token.trust is None else token.trust.trustee_user.id,
            ends_by=self._ends_by(token, now),
        )

    def _ends_by(self, token: Token, now: datetime) -> datetime | None:
        """Return when what the token came by ends: the token itself may end sooner."""
        ends: list[datetime | None] = []
        try:
            if token.application_credential is not None:
                credential = token.application_credential.id
                ends.append(self.reader.application_credential_ends(token.user.id, credential))
            if token.trust is not None:
                ends.append(self.reader.trust(token.trust.id).ends)
            federated = token.user.federation is not None
            if not federated and token.origin.startswith(LENT):  # Keystone does not tell it there
                federated = self.user(token.user.id).federated
        except NotFound:
            raise Unauthenticated("what the token came by is gone") from None
        if federated:
            ends.append(now + self.federated_validity)
        return min((end for end in ends if end is not None), default=None)

    def _domain_enabled(self, domain: str | None) -> bool:
        """Tell whether what is in a domain counts; without one it is a domain itself."""
        try:
            return domain is None or self.reader.domain(domain).enabled
        except NotFound:
            return False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _prepare(conf: cfg.ConfigOpts) -> None:
    openstack.prepare(conf, SECTION)


def _build(
    options: cfg.ConfigOpts.GroupAttr, *, conf: cfg.ConfigOpts, cut_offs: CutOffs, clock: Clock
) -> Keystone:
    auth = openstack.sign_in(conf, SECTION)
    if options.insecure:
        LOG.warning("insecure", section=SECTION, what="Keystone's certificate is not checked")
    url = options.www_authenticate_uri or auth.auth_url
    if not url:
        section = openstack.auth_section(conf, SECTION)
        raise Malformed(f"[{section}] auth_url is required: where Keystone is")
    reader = Reader(session=openstack.session(conf, SECTION), auth=auth)
    policy = Policy(
        allow_trust_tokens=options.allow_trust_tokens,
        sign_in_methods=frozenset(options.sign_in_methods),
    )
    return Keystone(
        url=url.rstrip("/"),
        reader=reader,
        validation=Validation(reader, policy),
        listings=Listings(reader, Roles(reader, clock), clock),
        federated_validity=timedelta(seconds=options.federated_validity),
        cut_offs=cut_offs,
        clock=clock,
    )


OPTIONS = (
    cfg.StrOpt(
        "www_authenticate_uri",
        help="The address of Keystone as callers reach it, and the name by which Tatu knows its"
        " users: auth_url unless it is set. Never change it lightly.",
    ),
    cfg.BoolOpt(
        "allow_trust_tokens",
        default=False,
        help="Take tokens that somebody was given by an impersonating trust. Their certificates"
        " end with the trust.",
    ),
    cfg.IntOpt(
        "federated_validity",
        default=3600,
        min=60,
        help="Seconds for which certificates of federated users are valid at most: roles that"
        " only their token tells end unheard of.",
    ),
    cfg.ListOpt(
        "sign_in_methods",
        default=[],
        help="Methods of your own by which people sign in to Keystone for themselves. What came"
        " by a method that Tatu does not know is refused: it may have been lent.",
    ),
    *loading.get_auth_common_conf_options(),
    *loading.get_session_conf_options(),
)

driver = Driver(section=SECTION, options=OPTIONS, build=_build, prepare=_prepare)
