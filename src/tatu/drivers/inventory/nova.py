"""Instances of an OpenStack, by Nova and Neutron (security.md S8, S21).

Nova shows a user no server of another project but to its administrators, whatever its policies
say. So Tatu's user, who is none, has the role `tatu-inventory` inherited in every project, and
asks of each instance with a token of its project; `etc/openstack` has the policies for that role.
An absence is believed only from Nova itself, in its answer about the very id.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from keystoneauth1 import exceptions, loading
from keystoneauth1.identity import BaseIdentityPlugin
from keystoneauth1.session import Session
from msgspec import Struct
from oslo_config import cfg

from tatu.core.errors import Unavailable
from tatu.drivers import openstack
from tatu.drivers.loading import Driver
from tatu.drivers.openstack import CloudLine, Service, SignIn, aware
from tatu.drivers.places import Places
from tatu.ports import Instance, Inventory

SECTION = "inventory_nova"

_COMPUTE = "compute 2.90"
"""The first version that tells whoever may see a server its hostname (Nova of Yoga)."""

_OWNER = "compute:"
_PAGE = 1000
_SIGN_INS = 256


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


class _Link(Struct):
    rel: str


class _Ports(Struct):
    ports: Sequence[_Port]
    ports_links: Sequence[_Link] = ()


class _FloatingIp(Struct):
    floating_ip_address: str


class _FloatingIps(Struct):
    floatingips: Sequence[_FloatingIp]
    floatingips_links: Sequence[_Link] = ()


T = TypeVar("T")


class SignIns:
    """Tatu's user, signed in to one project each; those used last are kept."""

    def __init__(self, sign_in: Callable[[str], BaseIdentityPlugin]) -> None:
        self._sign_in = sign_in
        self._keystone = CloudLine("Keystone")
        self._kept: OrderedDict[str, SignIn] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, project: str) -> SignIn:
        """Return what gets tokens of a project."""
        with self._lock:
            found = self._kept.pop(project, None) or self.by(self._sign_in(project))
            self._kept[project] = found
            if len(self._kept) > _SIGN_INS:
                self._kept.popitem(last=False)
            return found

    def by(self, auth: BaseIdentityPlugin) -> SignIn:
        """Return what signs in by a plugin."""
        return SignIn(auth, self._keystone)


class Nova(Inventory):
    """Asks Nova what there is, and Neutron for its addresses.

    `where` is what of the catalog is asked: interface and region. `auth` is Tatu's user in a
    project of its own, in which it may list all servers by their ids. `at_once` are the instances
    that are asked about at the same time, with one question each.
    """

    def __init__(
        self,
        *,
        session: Session,
        auth: BaseIdentityPlugin,
        sign_ins: SignIns,
        where: Mapping[str, Any],
        at_once: int,
    ) -> None:
        self._session = session
        self._places = Places("Nova", at_once)
        self._own = sign_ins.by(auth)
        self._sign_ins = sign_ins
        self._nova = Service(
            name="Nova",
            session=session,
            line=CloudLine("Nova"),
            where={**where, "service_type": "compute"},
            absence="itemNotFound",
            headers={"OpenStack-API-Version": _COMPUTE},
        )
        self._neutron = Service(
            name="Neutron",
            session=session,
            line=CloudLine("Neutron"),
            where={**where, "service_type": "network", "version": (2,)},
        )

    def instance(self, instance_id: str, *, project: str) -> Instance:
        """Return an instance; it was built when it was created, or when its rebuild began."""
        with self._places.place(project, instance_id):
            return self._instance(instance_id, project)

    def instances(self) -> Iterator[str]:
        """Yield the ids of all servers of all projects."""
        marker = ""
        while True:
            more = {"marker": marker} if marker else {}
            query = urlencode({"all_tenants": "1", "limit": _PAGE, **more})
            page = self._nova.get(f"/servers?{query}", _Servers, auth=self._signed_in()).servers
            if not page:  # Nova may give less than was asked for: only none is the end
                return
            yield from (server.id for server in page)
            marker = page[-1].id

    def check(self) -> None:
        """Ask Nova for some server, and Neutron for some port."""
        auth = self._signed_in()
        self._nova.get("/servers?all_tenants=1&limit=1", _Servers, auth=auth)
        self._neutron.get("/ports?limit=1&fields=id", dict[str, Any], auth=auth)

    def _instance(self, instance_id: str, project: str) -> Instance:
        auth = self._into(project)
        path = f"/servers/{quote(instance_id, safe='')}"
        server = self._nova.get(path, _Shown, auth=auth, named=instance_id).server
        if (server.id, server.tenant_id) != (instance_id, project):
            raise Unavailable("Nova answered with another server than was asked for")
        told = self._nova.get(f"{path}/os-instance-actions", _Actions, auth=auth)
        actions = told.instance_actions  # cut off, if at all, at its oldest
        rebuilt = [aware(each.start_time) for each in actions if each.action == "rebuild"]
        return Instance(
            id=server.id,
            project=server.tenant_id,
            name=server.hostname,
            addresses=self._addresses(auth, server),
            built_at=max([aware(server.created), *rebuilt]),
        )

    def _addresses(self, auth: BaseIdentityPlugin, server: _Server) -> tuple[str, ...]:
        """Return what Neutron binds to a server's ports now, in an order that stays.

        Anybody may make a port that names a device of others: only the project's own count.
        """
        query = {
            "device_id": server.id,
            "fields": ["id", "project_id", "device_owner", "fixed_ips"],
        }
        found = self._network(auth, "ports", query, _Ports)
        _check_whole(found.ports_links)
        ports = [
            port
            for port in found.ports
            if port.project_id == server.tenant_id and port.device_owner.startswith(_OWNER)
        ]
        if not ports:
            # What Neutron's policy hides reads as not there. A port that is shown and does not
            # count hides nothing: its owner may have called it anything, and so has no address.
            if not found.ports and any(server.addresses.values()):
                raise Unavailable(
                    f"Neutron shows no port of instance {server.id}, which has addresses: may the"
                    " role of Tatu's user see them (neutron-policy.yaml)?"
                )
            return ()
        query = {"port_id": [port.id for port in ports], "fields": "floating_ip_address"}
        floating = self._network(auth, "floatingips", query, _FloatingIps)
        _check_whole(floating.floatingips_links)
        fixed = {each.ip_address for port in ports for each in port.fixed_ips}
        return tuple(sorted(fixed | {each.floating_ip_address for each in floating.floatingips}))

    def _signed_in(self) -> BaseIdentityPlugin:
        """Return Tatu's user in its own project."""
        try:
            self._own.access(self._session)
        except exceptions.Unauthorized as error:
            raise Unavailable("Keystone does not let Tatu's own user sign in") from error
        return self._own.auth

    def _into(self, project: str) -> BaseIdentityPlugin:
        """Return Tatu's user in a project.

        Raises `Unavailable` for a token that is of another: with that nothing is there.
        """
        sign_in = self._sign_ins.of(project)
        try:
            scope = sign_in.access(self._session).project_id
        except exceptions.Unauthorized as error:
            raise Unavailable(
                f"Keystone does not let Tatu's own user into project {project}: it needs the role"
                " tatu-inventory there, inherited from the project's domain"
            ) from error
        if scope != project:
            raise Unavailable("Keystone gave Tatu's own user a token of another project")
        return sign_in.auth

    def _network(
        self, auth: BaseIdentityPlugin, what: str, query: Mapping[str, Any], shape: type[T]
    ) -> T:
        return self._neutron.get(f"/{what}?{urlencode(query, doseq=True)}", shape, auth=auth)


def _check_whole(links: Sequence[_Link]) -> None:
    """Raise `Unavailable` for a list that Neutron cuts off: what is missing would be lost."""
    if any(link.rel == "next" for link in links):
        raise Unavailable("Neutron does not tell all addresses at once (pagination_max_limit)")


def _prepare(conf: cfg.ConfigOpts) -> None:
    openstack.prepare(conf, SECTION, needs="project_id")


def _build(options: cfg.ConfigOpts.GroupAttr, *, conf: cfg.ConfigOpts) -> Nova:
    def sign_in(**scope: str | None) -> BaseIdentityPlugin:
        return openstack.sign_in(
            conf, SECTION, system_scope=None, domain_id=None, domain_name=None, **scope
        )

    def into(project: str) -> BaseIdentityPlugin:
        return sign_in(
            project_id=project,
            project_name=None,
            project_domain_id=None,
            project_domain_name=None,
        )

    return Nova(
        session=openstack.session(conf, SECTION),
        auth=sign_in(),
        sign_ins=SignIns(into),
        where={"interface": options.interface, "region_name": options.region_name},
        at_once=options.instances_at_once,
    )


OPTIONS = (
    cfg.StrOpt(
        "interface",
        default="public",
        choices=("public", "internal", "admin"),
        help="Which endpoints of Nova and Neutron are asked.",
    ),
    cfg.StrOpt("region_name", help="Whose endpoints; the catalog's first when it is not set."),
    cfg.IntOpt(
        "instances_at_once",
        default=8,
        min=1,
        max=256,
        help="Instances that a process asks about at the same time. Twice as many wait for their"
        " turn, and all others are told to try again: keep three times this number well below"
        " [api] blocking_threads.",
    ),
    *loading.get_auth_common_conf_options(),
    *loading.get_session_conf_options(),
)

driver = Driver(section=SECTION, options=OPTIONS, build=_build, prepare=_prepare)
