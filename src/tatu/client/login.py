"""Signing in by SSH key, as a plugin of keystoneauth1 (security.md S7)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from keystoneauth1.adapter import Adapter
from keystoneauth1.loading import BaseLoader, Opt
from keystoneauth1.plugin import BaseAuthPlugin
from keystoneauth1.session import Session as HttpSession

from tatu.client import http, signing
from tatu.client.clouds import check_url
from tatu.client.resources import Challenge, Deployment, Token
from tatu.client.signing import SigningKey
from tatu.client.state import Session
from tatu.core import challenge as core
from tatu.core.challenge import SignInPurpose
from tatu.core.errors import Denied, Malformed
from tatu.core.sshsig import Namespace

_MARGIN = timedelta(seconds=10)
"""A token that ends sooner is renewed: it might not outlive the request."""


class KeySignIn(BaseAuthPlugin):
    """Gets bearer tokens for signatures by an SSH key.

    `find_key` is called only when something must be signed. `kept` is a token from before, used
    while it lives, and `keep` is told of new ones. `deployment` and `project_id` are what every
    sign-in must find there; empty, they become what the first one finds. Whoever answers in
    Tatu's place could otherwise name a project whose statement keys nobody has pinned yet.
    """

    def __init__(
        self,
        *,
        url: str,
        user: str,
        project: str,
        find_key: Callable[[], SigningKey],
        purpose: SignInPurpose = SignInPurpose.LOGIN,
        kept: Session | None = None,
        keep: Callable[[Session], None] | None = None,
        deployment: str = "",
        project_id: str = "",
    ) -> None:
        super().__init__()
        self.deployment = deployment
        self.project_id = project_id
        self._url = url.rstrip("/")
        self._user = user
        self._project = project
        self._find_key = find_key
        self._purpose = purpose
        self._session = kept
        self._keep = keep

    def sign_in(self, session: HttpSession) -> Session:
        """Answer a new challenge, whatever token there is.

        Raises `Denied` for another deployment or project than before, and as `http.request` does.
        """
        key = self._find_key()
        server = Adapter(session, endpoint_override=self._url)
        deployment = http.ask(server, "GET", "/v2", Deployment, authenticated=False)
        if deployment.url.rstrip("/") != self._url:
            raise Denied(f"{self._url} says that it is {deployment.url!r}: sign in to that URL")
        self._same("deployment", self.deployment, deployment.deployment)
        line = key.public_key.line
        asked = {"user": self._user, "project": self._project, "public_key": line}
        wanted = {**asked, "purpose": str(self._purpose)}
        challenge = http.ask(
            server, "POST", "/v2/challenges", Challenge, body=wanted, authenticated=False
        )
        message = checked(challenge, deployment=deployment.url, purpose=self._purpose, **asked)
        answer = {
            "challenge": challenge.id,
            "signature": key.sign(Namespace.LOGIN, message),
        }
        token = http.ask(server, "POST", "/v2/tokens", Token, body=answer, authenticated=False)
        project = token.identity.project or ""
        self._same("project", self.project_id, project)
        self.deployment, self.project_id = deployment.deployment, project
        self._session = Session(
            token=token.token,
            expires_at=token.expires_at.astimezone(UTC).replace(microsecond=0),
            subject=token.identity.subject,
            name=token.identity.name,
            project=project,
        )
        if self._keep is not None:
            self._keep(self._session)
        return self._session

    def _same(self, what: str, known: str, said: str) -> None:
        """Raise `Denied` when the server names another than the one that we know."""
        if known and said != known:
            raise Denied(
                f"{self._url} says that its {what} is {said!r} and no longer {known!r}:"
                " if you know why, `tatu login` again"
            )

    def current(self, session: HttpSession) -> Session:
        """Return a sign-in that has not ended."""
        if self._session is None or self._session.expires_at < datetime.now(UTC) + _MARGIN:
            return self.sign_in(session)
        return self._session

    def get_token(self, session: HttpSession) -> str:
        """Return the bearer token."""
        return self.current(session).token

    def get_headers(self, session: HttpSession) -> dict[str, str]:
        """Return the header that carries it."""
        return {"Authorization": f"Bearer {self.get_token(session)}"}

    def get_endpoint(self, session: HttpSession, **kwargs: Any) -> str:
        """Return the URL that we sign in to: there is no other."""
        return self._url

    def get_user_id(self, session: HttpSession) -> str:
        """Return the user's id."""
        return self.current(session).subject

    def get_project_id(self, session: HttpSession) -> str:
        """Return the project's id, which is its authority's too."""
        return self.current(session).project

    def invalidate(self) -> bool:
        """Forget the token; the session asks once more with a new one."""
        known, self._session = self._session, None
        return known is not None


class Loader(BaseLoader[KeySignIn]):
    """Makes the plugin `tatu_key` from options, for whatever program uses keystoneauth1."""

    @property
    def plugin_class(self) -> type[KeySignIn]:
        """The class of the plugins."""
        return KeySignIn

    def get_options(self) -> list[Opt]:
        """Return what must be told.

        `openstack` makes an option `--os-<name>` of each, and has one called `--os-key` already.
        """
        return [
            Opt("tatu-url", required=True, help="Tatu's URL"),
            Opt("tatu-user", required=True, metavar="NAME", help="who signs in"),
            Opt("tatu-project", required=True, help="the project to work in, by name or id"),
            Opt("tatu-key", required=True, help="a key file, or agent:<fingerprint>"),
        ]

    def create_plugin(self, **kwargs: Any) -> KeySignIn:
        """Return the plugin; raises `Malformed` for a URL that a token may not travel to."""
        check_url(kwargs["tatu_url"], insecure_http=False)
        return KeySignIn(
            url=kwargs["tatu_url"],
            user=kwargs["tatu_user"],
            project=kwargs["tatu_project"],
            find_key=lambda: signing.find(kwargs["tatu_key"]),
        )


def checked(
    challenge: Challenge,
    *,
    deployment: str,
    user: str,
    project: str,
    public_key: str,
    purpose: SignInPurpose,
) -> bytes:
    """Return the bytes to sign, when they are what we would write ourselves; raises `Denied`.

    A server that could choose them would get a signature for another deployment, another purpose,
    or no sign-in at all.
    """
    try:
        facts = json.loads(challenge.message)
        expected = core.Challenge(
            id=challenge.id,
            deployment=deployment,
            user=user,
            project=project,
            public_key=public_key,
            purpose=purpose,
            nonce=str(facts["nonce"]),
            expires_at=datetime.fromisoformat(facts["expires_at"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed("the server sent no challenge") from error
    if expected.message != challenge.message.encode():
        raise Denied("the server's challenge is not for the sign-in that was asked for")
    return expected.message
