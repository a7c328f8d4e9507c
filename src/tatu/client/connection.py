"""A cloud that knows us: what commands work with."""

import shlex
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from keystoneauth1.adapter import Adapter

from tatu.client import http, signing
from tatu.client.api import Api
from tatu.client.clouds import Cloud
from tatu.client.login import KeySignIn
from tatu.client.state import Session, State
from tatu.core.challenge import SignInPurpose
from tatu.core.errors import Denied, Malformed, NotFound, Unauthenticated


class Connection(Protocol):
    """A cloud, its state and its API, whichever way we sign in to it."""

    @property
    def cloud(self) -> Cloud:
        """The cloud; whoever needs no more than its files asks `state`."""

    @property
    def state(self) -> State:
        """What is remembered of it."""

    @property
    def api(self) -> Api:
        """Its API."""

    @property
    def refresher(self) -> str:
        """The shell command by which ssh has its certificate refreshed."""

    def session(self) -> Session:
        """Return a sign-in that has not ended."""

    def find(self, kind: str, id_or_name: str) -> str | None:
        """Return the id of one of the `users` or `projects`.

        None when there is none, or when we may not ask. Raises `Conflict` when several have the
        name, and as `http.request` does.
        """


def tatu_refresh(cloud: str) -> str:
    """Return the shell command that refreshes by `tatu`, whatever the PATH is."""
    tatu = shutil.which("tatu")
    program = [tatu] if tatu else [sys.executable, "-m", "tatu.cli"]
    return shlex.join([*program, "ssh-config", "refresh", "--cloud", cloud])


@dataclass(frozen=True, kw_only=True)
class KeyConnection:
    """A cloud that we sign in to by SSH key; the token is renewed when it ends."""

    cloud: Cloud
    state: State
    plugin: KeySignIn
    api: Api

    @classmethod
    def open(cls, cloud: Cloud) -> "KeyConnection":
        """Return the connection of a signed-in cloud; raises `Unauthenticated` before `login`."""
        state = State.of(cloud.folder)
        kept = state.session()
        if kept is None or not cloud.deployment or kept.project != cloud.project_id:
            raise Unauthenticated(
                f"not signed in to {cloud.name}: `tatu login --cloud {cloud.name}`"
            )
        return cls._of(cloud, state, SignInPurpose.LOGIN, kept)

    @classmethod
    def new(cls, cloud: Cloud) -> "KeyConnection":
        """Return the connection of a cloud to sign in to, whatever answered there before."""
        unknown = replace(cloud, deployment="", project_id="")
        return cls._of(unknown, State.of(cloud.folder), SignInPurpose.LOGIN, None)

    @property
    def refresher(self) -> str:
        """The shell command by which ssh has its certificate refreshed."""
        return tatu_refresh(self.cloud.name)

    def administering(self) -> Api:
        """Return the API for changes to the directory: each sign-in is fresh and kept nowhere."""
        return self._of(self.cloud, self.state, SignInPurpose.ADMINISTER, None).api

    def sign_in(self) -> Session:
        """Sign in anew."""
        return self.plugin.sign_in(self.api.adapter.session)

    def session(self) -> Session:
        """Return a sign-in that has not ended."""
        return self.plugin.current(self.api.adapter.session)

    def find(self, kind: str, id_or_name: str) -> str | None:
        """Return an id by the embedded directory; who may not see it still knows themselves."""
        own = self.session()
        if kind == "users" and id_or_name in (own.subject, own.name):
            return own.subject
        if kind == "projects" and id_or_name in (own.project, self.cloud.project):
            return own.project
        with suppress(NotFound, Denied, Malformed):
            return self.api.entry(kind, id_or_name).id
        return None

    @classmethod
    def _of(
        cls, cloud: Cloud, state: State, purpose: SignInPurpose, kept: Session | None
    ) -> "KeyConnection":
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
