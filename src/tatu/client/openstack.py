"""A cloud that we sign in to by Keystone: Tatu is a service of its catalog."""

import hashlib
import json
import shlex
import shutil
from dataclasses import dataclass
from datetime import UTC
from functools import cached_property
from urllib.parse import quote

from keystoneauth1 import exceptions, plugin
from keystoneauth1.access import AccessInfo
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session as HttpSession
from msgspec import Struct

from tatu.client import files, http
from tatu.client.api import Api
from tatu.client.clouds import Cloud, check_url, state_folder
from tatu.client.connection import tatu_refresh
from tatu.client.resources import DirectoryEntry
from tatu.client.state import Session, State
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated

SERVICE_TYPE = "ssh"

_VERSION = "/v2"


class _Users(Struct, frozen=True):
    """What Keystone lists for a name."""

    users: list[DirectoryEntry]


class _Projects(Struct, frozen=True):
    """What Keystone lists for a name."""

    projects: list[DirectoryEntry]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of the catalog's endpoints; `override` is a URL that counts instead of all of them."""

    region: str | None = None
    interface: str | None = None
    override: str | None = None


class OpenStackConnection:
    """A cloud by whatever credentials OpenStack takes; nothing is asked before it is needed.

    `os_cloud` is its name in OpenStack's `clouds.yaml`, if it has one.
    """

    def __init__(self, session: HttpSession, place: Place, os_cloud: str | None = None) -> None:
        self._http = session
        self._place = place
        self._os_cloud = os_cloud

    @cached_property
    def state(self) -> State:
        """What is remembered of this person in this project of this cloud, and of no other.

        Raises `Malformed` when they have no project.
        """
        own, place = self.session(), self._place
        if not own.project:
            raise Malformed("you are signed in to no project: sign in to one")
        who = [self._auth.auth_url, place.region, place.override, own.subject, own.project]
        digest = hashlib.sha256(json.dumps(who).encode()).hexdigest()
        return State.of(state_folder() / f"openstack-{digest[:16]}")

    @cached_property
    def api(self) -> Api:
        """Tatu's API where the catalog says; raises `NotFound` when it does not say."""
        url = self._endpoint().rstrip("/").removesuffix(_VERSION)
        check_url(url, insecure_http=self._in_plain, hint="give --os-ssh-endpoint-override")
        return Api(adapter=Adapter(self._http, endpoint_override=url))

    @cached_property
    def cloud(self) -> Cloud:
        """The cloud, whose deployment is pinned when it is first seen."""
        own, deployment = self.session(), self.api.deployment().deployment
        pin = self.state.folder / "deployment"
        url = str(self.api.adapter.endpoint_override)
        if not pin.exists():
            files.write(pin, f"{deployment}\n")
        elif (known := files.read(pin).strip()) != deployment:
            raise Denied(
                f"{url} says that its deployment is {deployment!r} and no longer {known!r}:"
                f" if you know why, remove {self.state.folder}"
            )
        return Cloud(
            name=self.state.folder.name,
            url=url,
            user=own.subject,
            project=own.project,
            key="",
            insecure_http=self._in_plain,
            deployment=deployment,
            project_id=own.project,
        )

    @property
    def refresher(self) -> str:
        """The shell command by which ssh has its certificate refreshed.

        `tatu` knows the files, and in a moment whether anything is due; `openstack` takes seconds.
        """
        name = [f"--os-cloud={self._os_cloud}"] if self._os_cloud else []
        if '"' in "".join(name):
            raise Malformed(f"{self._os_cloud!r} cannot stand in ssh's configuration")
        quick = tatu_refresh(self.state.folder.name)
        openstack = shutil.which("openstack") or "openstack"
        slow = shlex.join([openstack, *name, "ssh", "ssh-config", "refresh"])
        return f"{quick} 2>/dev/null || {slow}"

    def session(self) -> Session:
        """Return who we are by Keystone's token."""
        access = self._access()
        token, expires = access.auth_token, access.expires
        if not token or expires is None or not access.user_id:
            raise Unauthenticated("Keystone's answer has no token, or none for a user")
        return Session(
            token=token,
            expires_at=expires.astimezone(UTC),
            subject=access.user_id,
            name=access.username or access.user_id,
            project=access.project_id or "",
        )

    def find(self, kind: str, id_or_name: str) -> str | None:
        """Return an id by Keystone: who may not ask it still knows themselves.

        Raises `Conflict` when several domains have the name, and as `http.request` does.
        """
        if not isinstance(self._http.auth, BaseIdentityPlugin):
            return None  # there is no Keystone to ask
        access = self._access()
        mine = {
            "users": (access.user_id, access.username),
            "projects": (access.project_id, access.project_name),
        }[kind]
        if id_or_name == mine[0]:
            return id_or_name
        # ids first: whoever may choose a name could call themselves by another's id
        if self._has(kind, id_or_name):
            return id_or_name
        try:
            found = self._called(kind, id_or_name)
        except Denied:
            return mine[0] if id_or_name == mine[1] else None
        if len(found) > 1:
            raise Conflict(f"several {kind} are called {id_or_name!r}: give the id")
        return found[0].id if found else None

    def _has(self, kind: str, identifier: str) -> bool:
        try:
            http.request(self._keystone, "GET", f"/{kind}/{quote(identifier, safe='')}")
        except (NotFound, Denied):
            return False
        return True

    def _called(self, kind: str, name: str) -> list[DirectoryEntry]:
        query = {"name": name}
        if kind == "users":
            return http.ask(self._keystone, "GET", "/users", _Users, query=query).users
        return http.ask(self._keystone, "GET", "/projects", _Projects, query=query).projects

    @cached_property
    def _keystone(self) -> Adapter:
        """Keystone where we sign in to it."""
        url = self._http.get_endpoint(interface=plugin.AUTH_INTERFACE, version=(3,))
        return Adapter(self._http, endpoint_override=str(url).rstrip("/"))

    @property
    def _in_plain(self) -> bool:
        """Say whether the token may travel by http: if it came so, or if the URL was given us."""
        auth_url = str(getattr(self._http.auth, "auth_url", "http:"))
        return bool(self._place.override) or auth_url.startswith("http:")

    @property
    def _auth(self) -> BaseIdentityPlugin:
        auth = self._http.auth
        if not isinstance(auth, BaseIdentityPlugin):
            raise Unauthenticated(
                "these credentials do not say who you are: sign in to Keystone, or name what you"
                " want by --project"
            )
        return auth

    def _access(self) -> AccessInfo:
        try:
            return self._auth.get_access(self._http)
        except exceptions.ClientException as error:
            raise Unauthenticated(f"Keystone gives no token: {error}") from error

    def _endpoint(self) -> str:
        place = self._place
        if place.override:
            return place.override
        try:
            found = self._http.get_endpoint(
                service_type=SERVICE_TYPE,
                interface=place.interface or "public",
                region_name=place.region,
                skip_discovery=True,  # we speak one version
            )
        except exceptions.CatalogException:
            found = None
        except exceptions.ClientException as error:
            raise Unauthenticated(f"Keystone gives no token: {error}") from error
        if not found:
            at = " ".join(filter(None, (place.interface, place.region)))
            raise NotFound(
                f"the cloud's catalog has no service of type {SERVICE_TYPE!r} ({at or 'public'})"
            )
        return found
