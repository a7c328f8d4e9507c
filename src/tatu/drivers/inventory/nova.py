"""Instances of an OpenStack, by Nova and Neutron (security.md S8, S21).

Nova shows a user no server of another project but to its administrators, whatever its policies
say. So Tatu's user, who is none, has the role `tatu-inventory` inherited in every project, and
asks of each instance with a token of its project; `etc/openstack` has the policies for that role.
An absence is believed only from Nova itself, in its answer about the very id.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from keystoneauth1 import exceptions, loading
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from msgspec import Struct
from oslo_config import cfg

from tatu.core.errors import Malformed, NotFound, Unavailable
from tatu.drivers.loading import Driver
from tatu.ports import Instance, Inventory

SECTION = "inventory_nova"

_TIMEOUT = 5.0  # seconds to connect, and between two reads
_RETRIES = 1  # of a connection that was closed just then
_COMPUTE = "compute 2.90"
"""The first version that tells whoever may see a server its hostname (Nova of Yoga)."""

_OWNER = "compute:"
_PAGE = 1000
_SIGN_INS = 256
_OK = 200
_NOT_FOUND = 404


class _Server(Struct, rename={"hostname": "OS-EXT-SRV-ATTR:hostname"}):
    id: str
    tenant_id: str
    hostname: str
    created: datetime
    addresses: Mapping[str, Sequence[object]]


class _Shown(Struct):
    server: _Server


class _Action(Struct):
    action: str
    start_time: datetime


class _Actions(Struct, rename="camel"):
    instance_actions: Sequence[_Action]


class _Id(Struct):
    id: str


class _Servers(Struct):
    servers: Sequence[_Id]


class _FixedIp(Struct):
    ip_address: str


class _Port(Struct):
    id: str
    project_id: str
    device_owner: str
    fixed_ips: Sequence[_FixedIp]


class _Ports(Struct):
    ports: Sequence[_Port]


class _FloatingIp(Struct):
    floating_ip_address: str


class _FloatingIps(Struct):
    floatingips: Sequence[_FloatingIp]


class _Error(Struct):
    code: int
    message: str


class _Failure(Struct, rename="camel"):
    item_not_found: _Error


T = TypeVar("T")


class SignIns:
    """Tatu's user, signed in to one project each; those used last are kept."""

    def __init__(self, sign_in: Callable[[str], BaseIdentityPlugin]) -> None:
        self._sign_in = sign_in
        self._kept: OrderedDict[str, BaseIdentityPlugin] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, project: str) -> BaseIdentityPlugin:
        """Return what gets tokens of a project."""
        with self._lock:
            found = self._kept.pop(project, None) or self._sign_in(project)
            self._kept[project] = found
            if len(self._kept) > _SIGN_INS:
                self._kept.popitem(last=False)
            return found


@dataclass(frozen=True, kw_only=True)
class Nova(Inventory):
    """Asks Nova what there is, and Neutron for its addresses.

    `where` is what of the catalog is asked: interface and region. `auth` is Tatu's user in a
    project of its own, in which it may list all servers by their ids.
    """

    session: Session
    auth: BaseIdentityPlugin
    sign_ins: SignIns
    where: Mapping[str, Any] = field(default_factory=dict)

    def instance(self, instance_id: str, *, project: str) -> Instance:
        """Return an instance; it was built when it was created, or when its rebuild began."""
        auth = self.sign_ins.of(project)
        self._check_scope(auth, project)
        path = f"/servers/{quote(instance_id, safe='')}"
        server = self._compute(auth, path, _Shown, named=instance_id).server
        if (server.id, server.tenant_id) != (instance_id, project):
            raise Unavailable("Nova answered with another server than was asked for")
        actions = self._compute(auth, f"{path}/os-instance-actions", _Actions).instance_actions
        rebuilt = [_aware(each.start_time) for each in actions if each.action == "rebuild"]
        return Instance(
            id=server.id,
            project=server.tenant_id,
            name=server.hostname,
            addresses=self._addresses(auth, server),
            built_at=max([_aware(server.created), *rebuilt]),
        )

    def instances(self) -> Iterator[str]:
        """Yield the ids of all servers of all projects."""
        marker = ""
        while True:
            more = {"marker": marker} if marker else {}
            query = urlencode({"all_tenants": "1", "limit": _PAGE, **more})
            page = self._compute(self.auth, f"/servers?{query}", _Servers).servers
            if not page:  # Nova may give less than was asked for: only none is the end
                return
            yield from (server.id for server in page)
            marker = page[-1].id

    def check(self) -> None:
        """Ask Nova for some server, and Neutron for some port."""
        self._compute(self.auth, "/servers?all_tenants=1&limit=1", _Servers)
        self._network(self.auth, "ports", {"limit": "1", "fields": "id"}, dict[str, Any])

    def _addresses(self, auth: BaseIdentityPlugin, server: _Server) -> tuple[str, ...]:
        """Return what Neutron binds to a server's ports now, in an order that stays.

        Anybody may make a port that names a device of others: only the project's own count.
        """
        query = {
            "device_id": server.id,
            "fields": ["id", "project_id", "device_owner", "fixed_ips"],
        }
        found = self._network(auth, "ports", query, _Ports).ports
        ports = [
            port
            for port in found
            if port.project_id == server.tenant_id and port.device_owner.startswith(_OWNER)
        ]
        if not ports:
            if any(server.addresses.values()):  # what Neutron's policy hides reads as not there
                raise Unavailable(
                    f"Neutron shows no port of instance {server.id}, which has addresses: may the"
                    " role of Tatu's user see them (neutron-policy.yaml)?"
                )
            return ()
        query = {"port_id": [port.id for port in ports], "fields": "floating_ip_address"}
        floating = self._network(auth, "floatingips", query, _FloatingIps).floatingips
        fixed = {each.ip_address for port in ports for each in port.fixed_ips}
        return tuple(sorted(fixed | {each.floating_ip_address for each in floating}))

    def _check_scope(self, auth: BaseIdentityPlugin, project: str) -> None:
        """Raise `Unavailable` unless the token is of this project: in another nothing is there."""
        try:
            scope = auth.get_access(self.session).project_id
        except exceptions.Unauthorized as error:
            raise Unavailable(
                f"Keystone does not let Tatu's own user into project {project}: it needs the role"
                " tatu-inventory there, inherited from the project's domain"
            ) from error
        except exceptions.ClientException as error:
            raise _unavailable("Keystone", error) from error
        if scope != project:
            raise Unavailable("Keystone gave Tatu's own user a token of another project")

    def _compute(
        self, auth: BaseIdentityPlugin, path: str, shape: type[T], named: str | None = None
    ) -> T:
        headers = {"OpenStack-API-Version": _COMPUTE}
        where = {"service_type": "compute"}
        return self._ask(
            path, shape, who="Nova", auth=auth, where=where, headers=headers, named=named
        )

    def _network(
        self, auth: BaseIdentityPlugin, what: str, query: Mapping[str, Any], shape: type[T]
    ) -> T:
        path = f"/{what}?{urlencode(query, doseq=True)}"
        where = {"service_type": "network", "version": (2,)}
        return self._ask(path, shape, who="Neutron", auth=auth, where=where)

    def _ask(
        self,
        path: str,
        shape: type[T],
        *,
        who: str,
        auth: BaseIdentityPlugin,
        where: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        named: str | None = None,
    ) -> T:
        """GET a path; a 404 is believed when it speaks of what is `named`, of None never."""
        try:
            answer = self.session.get(
                path,
                auth=auth,
                endpoint_filter={**self.where, **where},
                headers={**(headers or {}), "Accept": "application/json"},
                connect_retries=_RETRIES,
                raise_exc=False,
                redirect=False,
            )
        except exceptions.ClientException as error:
            raise _unavailable(who, error) from error
        if answer.status_code == _NOT_FOUND and _is_absence(answer.content, named):
            raise NotFound(f"Nova has no server {named!r} in the project")
        if answer.status_code != _OK:
            raise Unavailable(f"{who} answered {answer.status_code} to Tatu's own user")
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.DecodeError as error:
            raise Unavailable(f"{who}'s answer cannot be read: {error}") from error


def _unavailable(who: str, error: Exception) -> Unavailable:
    # Not its text: that may have the address, with whatever an operator wrote into it.
    return Unavailable(f"{who} does not answer Tatu's own user: {type(error).__name__}")


def _is_absence(body: bytes, named: str | None) -> bool:
    """Tell whether a 404 is Nova's word on this very server, and not a lost path."""
    if named is None:
        return False
    try:
        error = msgspec.json.decode(body, type=_Failure).item_not_found
    except msgspec.DecodeError:
        return False
    return error.code == _NOT_FOUND and named in error.message and f"/{named}" not in error.message


def _aware(time: datetime) -> datetime:
    """Return a time as UTC; Nova leaves that unsaid."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _prepare(conf: cfg.ConfigOpts) -> None:
    """Register what the way of signing in reads."""
    section = _auth_section(conf)
    loading.register_auth_conf_options(conf, section)
    name = conf[section].auth_type
    if not name:
        raise Malformed(f"[{section}] auth_type is required: how Tatu's own user signs in")
    try:
        loader: loading.BaseLoader[Any] = loading.get_plugin_loader(name)
    except exceptions.NoMatchingPlugin as error:
        raise Malformed(f"[{section}] auth_type = {name}: there is no such plugin") from error
    options = loading.get_auth_plugin_conf_options(loader)
    if "project_id" not in {option.dest for option in options}:
        raise Malformed(f"[{section}] auth_type = {name} signs in to no project that is named")
    conf.register_opts(options, group=section)


def _build(options: cfg.ConfigOpts.GroupAttr, *, conf: cfg.ConfigOpts) -> Nova:
    def sign_in(**scope: str | None) -> BaseIdentityPlugin:
        try:
            found = loading.load_auth_from_conf_options(
                conf, SECTION, system_scope=None, domain_id=None, domain_name=None, **scope
            )
        except exceptions.ClientException as error:
            raise Malformed(f"[{_auth_section(conf)}] {error}") from error
        if not isinstance(found, BaseIdentityPlugin):
            raise Malformed(f"[{_auth_section(conf)}] auth_type asks no Keystone")
        return found

    def into(project: str) -> BaseIdentityPlugin:
        return sign_in(
            project_id=project,
            project_name=None,
            project_domain_id=None,
            project_domain_name=None,
        )

    return Nova(
        session=loading.load_session_from_conf_options(
            conf, SECTION, timeout=options.timeout or _TIMEOUT
        ),
        auth=sign_in(),
        sign_ins=SignIns(into),
        where={"interface": options.interface, "region_name": options.region_name},
    )


def _auth_section(conf: cfg.ConfigOpts) -> str:
    return conf[SECTION].auth_section or SECTION


OPTIONS = (
    cfg.StrOpt(
        "interface",
        default="public",
        choices=("public", "internal", "admin"),
        help="Which endpoints of Nova and Neutron are asked.",
    ),
    cfg.StrOpt("region_name", help="Whose endpoints; the catalog's first when it is not set."),
    *loading.get_auth_common_conf_options(),
    *loading.get_session_conf_options(),
)

driver = Driver(section=SECTION, options=OPTIONS, build=_build, prepare=_prepare)
