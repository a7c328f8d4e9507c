"""A cloud that we are signed in to: what commands work with."""

from dataclasses import dataclass, replace

from keystoneauth1.adapter import Adapter

from tatu.client import http, signing
from tatu.client.api import Api
from tatu.client.clouds import Cloud
from tatu.client.login import KeySignIn
from tatu.client.state import Session, State
from tatu.core.challenge import SignInPurpose
from tatu.core.errors import Unauthenticated


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A cloud, its state and its API; the token is renewed when it ends."""

    cloud: Cloud
    state: State
    plugin: KeySignIn
    api: Api

    @classmethod
    def open(cls, cloud: Cloud) -> "Connection":
        """Return the connection of a signed-in cloud; raises `Unauthenticated` before `login`."""
        state = State.of(cloud.folder)
        kept = state.session()
        if kept is None or not cloud.deployment or kept.project != cloud.project_id:
            raise Unauthenticated(
                f"not signed in to {cloud.name}: `tatu login --cloud {cloud.name}`"
            )
        return cls._of(cloud, state, SignInPurpose.LOGIN, kept)

    @classmethod
    def new(cls, cloud: Cloud) -> "Connection":
        """Return the connection of a cloud to sign in to, whatever answered there before."""
        unknown = replace(cloud, deployment="", project_id="")
        return cls._of(unknown, State.of(cloud.folder), SignInPurpose.LOGIN, None)

    def administering(self) -> Api:
        """Return the API for changes to the directory: each sign-in is fresh and kept nowhere."""
        return self._of(self.cloud, self.state, SignInPurpose.ADMINISTER, None).api

    def sign_in(self) -> Session:
        """Sign in anew."""
        return self.plugin.sign_in(self.api.adapter.session)

    def session(self) -> Session:
        """Return a sign-in that has not ended."""
        return self.plugin.current(self.api.adapter.session)

    @classmethod
    def _of(
        cls, cloud: Cloud, state: State, purpose: SignInPurpose, kept: Session | None
    ) -> "Connection":
        plugin = KeySignIn(
            url=cloud.url,
            user=cloud.user,
            project=cloud.project,
            find_key=lambda: signing.find(cloud.key),
            purpose=purpose,
            kept=kept,
            keep=state.keep_session if purpose is SignInPurpose.LOGIN else None,
            deployment=cloud.deployment,
            project_id=cloud.project_id,
        )
        session = http.session(cloud.url)
        adapter = Adapter(session, auth=plugin, endpoint_override=cloud.url.rstrip("/"))
        return cls(cloud=cloud, state=state, plugin=plugin, api=Api(adapter=adapter))
