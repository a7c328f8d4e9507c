"""Tokens of Keystone: which are taken, and whom they speak for (security.md S9)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from keystonemiddleware import auth_token  # type: ignore[import-untyped]
from msgspec import Struct, field

from tatu.core.errors import NotFound, Unauthenticated, Unavailable
from tatu.core.identity import APPLICATION_CREDENTIAL, FEDERATION, MAX_ID, TRUST, Role
from tatu.drivers.identity.keystone_reader import Reader
from tatu.ports import Request

SERVICE_TYPE = "ssh"
"""What access rules of application credentials call this service."""

_SIGN_INS = frozenset(
    {
        "external",
        "kerberos",
        "mapped",
        "openid",
        "password",
        "saml2",
        "token",
        "totp",
        "x509",
    }
)
_CREDENTIAL = "application_credential"
_TOKEN = frozenset(map(chr, range(0x21, 0x7F)))
# Fernet's are a tenth of it. uWSGI, which Keystone often runs on, takes 4,096 bytes of headers,
# if nobody told it otherwise, and Tatu's own token has to fit in there, too.
_MAX_TOKEN = 3_072


class _Role(Struct):
    id: str
    name: str


class _Id(Struct):
    id: str


class _Federation(Struct):
    identity_provider: _Id


class _User(Struct):
    id: str
    name: str
    federation: _Federation | None = field(default=None, name="OS-FEDERATION")


class _Rule(Struct):
    service: str
    method: str
    path: str


class _Credential(Struct):
    id: str
    access_rules: list[_Rule] | None = None


class _Service(Struct):
    type: str


class _Trust(Struct):
    id: str
    impersonation: bool
    trustee_user: _Id


class Token(Struct):
    """What Keystone says of a token that it vouches for."""

    user: _User
    expires_at: datetime
    methods: list[str]
    roles: list[_Role] = []
    project: _Id | None = None
    is_domain: bool = False
    system: dict[str, Any] | None = None
    catalog: list[_Service] | None = None
    application_credential: _Credential | None = None
    trust: _Trust | None = field(default=None, name="OS-TRUST:trust")

    @property
    def scope(self) -> tuple[str | None, frozenset[Role]]:
        """The project and the roles that count here.

        A role in the system administers, and opens no account: it has no project. One in a domain
        does neither.
        """
        roles = frozenset(Role(id=role.id, name=role.name) for role in self.roles)
        if self.project is not None and not self.is_domain:
            return self.project.id, roles
        if self.system is not None and self.system.get("all"):
            return None, roles
        return None, frozenset()

    @property
    def restricted(self) -> bool:
        """Whether it is good for some requests only."""
        credential = self.application_credential
        return credential is not None and credential.access_rules is not None

    @property
    def origin(self) -> str:
        """What else the token dies with, as `Identity.origin` has it."""
        if self.trust is not None:
            return f"{TRUST}{self.trust.id}"
        if self.application_credential is not None:
            return f"{APPLICATION_CREDENTIAL}{self.application_credential.id}"
        if self.user.federation is not None:
            return f"{FEDERATION}{self.user.federation.identity_provider.id}"
        return ""


class _Answer(Struct):
    token: Token


def text(headers: Mapping[str, str]) -> str:
    """Return the token of a request. Raises `Unauthenticated` when there can be none."""
    found = headers.get("x-auth-token", "").strip()
    if not found:
        raise Unauthenticated("a token of Keystone is needed (X-Auth-Token)")
    if len(found) > _MAX_TOKEN or not _TOKEN.issuperset(found):
        raise Unauthenticated("the token is none of Keystone's")
    return found


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which tokens are taken besides those of people who signed in for themselves.

    `sign_in_methods` are the cloud's own that Keystone does not know by name.
    """

    allow_trust_tokens: bool
    sign_in_methods: frozenset[str]

    def check(self, token: Token) -> None:
        """Raise `Unauthenticated` for a token that somebody else may have been given.

        What is lent is refused unless its end is heard of: of an EC2 key, of an OAuth access
        token, or of a method made tomorrow, nobody tells.
        """
        project, _ = token.scope
        if max(len(token.user.id), len(project or "")) > MAX_ID:
            raise Unauthenticated("the token is of a user or project whose id is too long")
        methods = set(token.methods)
        if token.trust is not None:
            if not self.allow_trust_tokens:
                raise Unauthenticated("a token by a trust is not taken here")
            if not token.trust.impersonation:
                raise Unauthenticated("a trust that does not impersonate lends roles, not a name")
        if token.application_credential is not None:
            methods.discard(_CREDENTIAL)
            methods.add("password")
        if not methods or methods - _SIGN_INS - self.sign_in_methods:
            raise Unauthenticated("a token by a method that lends permissions is not taken here")


class Validation(auth_token.BaseAuthProtocol):  # type: ignore[misc]
    """keystonemiddleware's judgement of a token: its expiry, and the rules it is confined to.

    Only the asking is ours. The other half of auth_token remembers for five minutes, tries four
    times and logs what Keystone said of a token, which may be the token. Service tokens are not
    looked at: they would lift access rules and expiry.
    """

    def __init__(self, reader: Reader, policy: Policy) -> None:
        super().__init__(_accept, service_type=SERVICE_TYPE)
        self._reader = reader
        self._policy = policy

    def fetch_token(self, token: str, **_: object) -> Mapping[str, Any]:
        """Ask Keystone; raises as the middleware expects it."""
        try:
            said = self._reader.token(token)
        except NotFound:
            raise auth_token.InvalidToken("Keystone does not know the token") from None
        _read(said)  # the middleware takes its shape for granted
        return said

    def token(self, request: Request, found: str) -> Token:
        """Return what stands behind a request's token.

        Raises `Unauthenticated`, or `Unavailable` when Keystone does not answer: then nobody is
        let through.
        """
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": request.path.encode().decode("latin-1"),
            "SERVER_NAME": "tatu",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "https",
            "HTTP_X_AUTH_TOKEN": found,
        }
        self(environ, _ignore)
        if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed":
            raise Unauthenticated("Keystone does not vouch for this token, here and now")
        token = _read(environ["keystone.token_info"])
        self._policy.check(token)
        return token


def _read(said: Mapping[str, Any]) -> Token:
    try:
        token = msgspec.convert(said, _Answer).token
    except msgspec.ValidationError as error:
        raise Unavailable(f"Keystone's word on a token cannot be read: {error}") from error
    if token.restricted and token.catalog is None:
        raise Unavailable("Keystone tells of access rules, and not of its services")
    if token.expires_at.tzinfo is None:
        token.expires_at = token.expires_at.replace(tzinfo=UTC)
    return token


def _accept(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
    """Stand behind the middleware, which tells in the environment what it found."""
    start_response("204 No Content", [])
    return []


def _ignore(status: str, headers: object, exc_info: object = None) -> None:
    """Take no answer."""
