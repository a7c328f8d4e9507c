"""What a cloud must know of Tatu: its service, its endpoint, its users and what they may (S21).

The operator's own credentials do this once (`tatu-manage openstack register`); Tatu keeps none of
them. Whatever is there already stays as it is.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from openstack import connect
from openstack import exceptions as sdk_errors

from tatu.core import own
from tatu.core.errors import Denied, Malformed, Unavailable

SERVICE_TYPE = "ssh"
MEMBER = "member"
READER = "reader"
INTERFACES = ("public", "internal", "admin")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How Tatu shall stand in the catalog; `endpoint` is the root of its API."""

    endpoint: str
    region: str
    project: str = "service"
    domain: str = "Default"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What was done, line by line, and what the users sign in with.

    `passwords` has each user whose password is known: one that was given and still signs in, or
    one that was made now. `services` are the types of the services that the catalog has.
    """

    auth_url: str
    services: frozenset[str]
    changes: tuple[str, ...]
    passwords: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Users:
    """The passwords of Tatu's users: those `known` from an earlier time.

    One that is not known, or signs in no more, is replaced only with `renew`: somebody may be
    using it. `keep` is told what was done, also when the rest fails: nobody else ever knows the
    passwords of users that were made.
    """

    known: Mapping[str, str] = field(repr=False)
    renew: bool = False
    keep: Callable[[Registered], None] = lambda _: None


class Registration:
    """Registers Tatu with the cloud that `OS_CLOUD` or the `OS_…` variables name."""

    def __init__(self, *, password: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> None:
        """Sign in. Raises `Denied`, `Malformed` or `Unavailable`."""
        self._password = password
        self._changes: list[str] = []
        self._passwords: dict[str, str] = {}
        with _errors():
            cloud = connect(load_envvars=True)
            self._session = cloud.session
            # typed as that of Keystone's v2, too, which nobody has any more
            self._identity: Any = cloud.identity
            self._auth_url = str(cloud.config.auth["auth_url"])

    def register(self, wanted: Wanted, users: Users) -> Registered:
        """Make what is not there.

        Raises `Denied` when the operator may not, `Malformed`, or `Unavailable`.
        """
        with _errors():
            domain = self._identity.find_domain(wanted.domain)
            if domain is None:
                raise Malformed(f"the cloud has no domain {wanted.domain!r}")
            if wanted.region not in {region.id for region in self._identity.regions()}:
                raise Malformed(f"the cloud has no region {wanted.region!r}")
            self._service(wanted)
            services = self._services()
            try:
                self._people(wanted, domain, users)
            finally:
                done = Registered(
                    auth_url=self._auth_url,
                    services=services,
                    changes=tuple(self._changes),
                    passwords=dict(self._passwords),
                )
                users.keep(done)
        return done

    def _people(self, wanted: Wanted, domain: Any, users: Users) -> None:
        project = self._project(wanted.project, domain, "Users of the cloud's services")
        tatu = self._user(own.USER, domain, users)
        self._system_role(tatu, self._role(READER))
        self._inherited_role(tatu, self._role(own.INVENTORY_ROLE))
        keys = self._project(own.KEYS_PROJECT, domain, "Keys of Tatu's authorities")
        self._project_role(tatu, keys, self._role(MEMBER))
        nova = self._user(own.VENDORDATA_USER, domain, users)
        self._project_role(nova, project, self._role(own.VENDORDATA_ROLE))

    def _services(self) -> frozenset[str]:
        found = {endpoint.service_id for endpoint in self._identity.endpoints()}
        return frozenset(
            service.type for service in self._identity.services() if service.id in found
        )

    def _project(self, name: str, domain: Any, description: str) -> Any:
        found = self._identity.find_project(name, domain_id=domain.id)
        return found or self._made(
            f"project {name}",
            self._identity.create_project(name=name, domain_id=domain.id, description=description),
        )

    def _role(self, name: str) -> Any:
        # of domains' own roles there may be others of this name, which give nothing elsewhere
        for role in self._identity.roles(name=name):
            if not role.domain_id:
                return role
        return self._made(f"role {name}", self._identity.create_role(name=name))

    def _user(self, name: str, domain: Any, users: Users) -> Any:
        known = users.known.get(name)
        user = self._identity.find_user(name, domain_id=domain.id)
        if user is not None and known is not None and self._signs_in(name, known, domain):
            self._passwords[name] = known
            return user
        password = self._password()
        if user is None:
            user = self._identity.create_user(
                name=name, domain_id=domain.id, password=password, description="Tatu"
            )
            self._changes.append(f"user {name}")
        elif users.renew:
            self._identity.update_user(user, password=password)
            self._changes.append(f"password of {name}")
        else:
            return user
        self._passwords[name] = password
        return user

    def _signs_in(self, name: str, password: str, domain: Any) -> bool:
        auth = Password(
            auth_url=self._auth_url, username=name, password=password, user_domain_id=domain.id
        )
        try:
            Session(auth=auth, verify=self._session.verify).get_token()
        except keystone_errors.Unauthorized:
            return False
        return True

    def _system_role(self, user: Any, role: Any) -> None:
        if not self._identity.validate_user_has_system_role(user, role, "all"):
            self._identity.assign_system_role_to_user(user, role, "all")
            self._changes.append(f"role {role.name} of {user.name} on the system")

    def _project_role(self, user: Any, project: Any, role: Any) -> None:
        if not self._identity.validate_user_has_project_role(project, user, role):
            self._identity.assign_project_role_to_user(project, user, role)
            self._changes.append(f"role {role.name} of {user.name} in {project.name}")

    def _inherited_role(self, user: Any, role: Any) -> None:
        """Give a role in every project of every domain: nobody has one in all of them at once."""
        for domain in self._identity.domains():
            if not self._identity.validate_user_has_domain_role(
                domain, user, role, inherited=True
            ):
                self._identity.assign_domain_role_to_user(domain, user, role, inherited=True)
                self._changes.append(
                    f"role {role.name} of {user.name} in every project of {domain.name}"
                )

    def _service(self, wanted: Wanted) -> None:
        service = next(
            (each for each in self._identity.services(type=SERVICE_TYPE) if each.name == own.USER),
            None,
        ) or self._made(
            f"service {own.USER}",
            self._identity.create_service(
                name=own.USER, type=SERVICE_TYPE, description="SSH certificates"
            ),
        )
        there = {
            endpoint.interface: endpoint
            for endpoint in self._identity.endpoints(service_id=service.id)
            if endpoint.region_id == wanted.region
        }
        for interface in INTERFACES:
            endpoint = there.get(interface)
            if endpoint is None:
                self._identity.create_endpoint(
                    service_id=service.id,
                    interface=interface,
                    url=wanted.endpoint,
                    region_id=wanted.region,
                )
            elif endpoint.url != wanted.endpoint:
                self._identity.update_endpoint(endpoint, url=wanted.endpoint)
            else:
                continue
            self._changes.append(f"{interface} endpoint {wanted.endpoint}")

    def _made(self, what: str, made: Any) -> Any:
        self._changes.append(what)
        return made


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (sdk_errors.ForbiddenException, keystone_errors.Forbidden) as error:
        raise Denied("Keystone refuses: register as an administrator of the cloud") from error
    except keystone_errors.Unauthorized as error:
        raise Denied("Keystone refuses these credentials") from error
    except keystone_errors.ConnectFailure as error:
        raise Unavailable(f"Keystone does not answer at {_place(str(error))}") from error
    except (sdk_errors.ConfigException, keystone_errors.MissingRequiredOptions) as error:
        if name := os.environ.get("OS_CLOUD"):
            raise Malformed(
                f"OS_CLOUD is {name!r}, and no clouds.yaml here has that cloud whole ({error})"
            ) from error
        raise Malformed(
            f"no cloud: set OS_CLOUD, or OS_AUTH_URL and the rest ({error})"
        ) from error
    except (sdk_errors.SDKException, keystone_errors.ClientException) as error:
        raise Unavailable(f"Keystone did not do it: {error}") from error


def _place(text: str) -> str:
    """Return host and port of the URL in an error, which may have a password before them."""
    found = re.search(r"https?://[^\s'\"]+", text)
    return urlsplit(found[0]).netloc.rpartition("@")[2] if found else "its address"
