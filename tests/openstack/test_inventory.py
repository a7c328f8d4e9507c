"""The inventory and the vendordata of a real Nova and Neutron (security.md S8, S11, S21)."""

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import openstack
import pytest

from tatu import config
from tatu.core import enrolment
from tatu.core.certificate import Certificate
from tatu.core.errors import NotFound, Unavailable
from tatu.core.sshsig import Namespace
from tatu.drivers import loading
from tests.api.keys import ClientKey
from tests.fakes.threads import together
from tests.lab.openstack import guest
from tests.lab.openstack.site import REGION
from tests.openstack.clouds import Cloud
from tests.openstack.deployment import deployed

ROLE = "tatu-inventory"
NOWHERE = "99999999-9999-4999-8999-999999999999"


@pytest.fixture(scope="module")
def tatu(compute_lab, tmp_path_factory):
    """A deployment by the guide, whose Nova asks it for vendordata."""
    folder = tmp_path_factory.mktemp("inventory")
    with deployed(compute_lab, folder, "[authority]\ncreate_for_projects = true\n") as made:
        made.start()
        compute_lab.configure_vendordata(made.vendordata("/v2/vendordata/nova"))
        yield made


@pytest.fixture(scope="module")
def cloud(compute_lab):
    return Cloud(compute_lab)


@pytest.fixture(scope="module")
def admin(compute_lab):
    return compute_lab.cloud()


class Tenant:
    """A project with a member, who has a network and instances on it."""

    def __init__(self, lab, cloud, admin):
        self.admin = admin
        self.project = cloud.make("project")
        self.user = cloud.make("user")
        cloud.assign("member", f"projects/{self.project}", user=self.user)
        self.sdk = openstack.connection.Connection(
            session=cloud.session(self.user, project_id=self.project), region_name=REGION
        )
        self.public, self.private = guest.networks(self.sdk, guest.public_network(admin))

    def boot(self, name="db"):
        networks = [{"uuid": self.private.id}]
        return guest.boot(self.sdk, name, networks=networks, admin=self.admin)

    def port(self, server):
        (port,) = self.sdk.network.ports(device_id=server.id)
        return port

    def fixed(self, server):
        return self.port(server).fixed_ips[0]["ip_address"]

    def float(self, server, floating=None):
        """Give a floating IP to a server: a new one, or one that another has."""
        network = self.sdk.network
        floating = floating or network.create_ip(floating_network_id=self.public.id)
        return network.update_ip(floating, port_id=self.port(server).id)


@pytest.fixture(scope="module")
def tenant(compute_lab, cloud, admin):
    return Tenant(compute_lab, cloud, admin)


@pytest.fixture(scope="module")
def other(cloud):
    """A project in which nobody has anything."""
    return cloud.make("project")


@pytest.fixture(scope="module")
def inventory(tatu):
    conf = config.load(tatu.config).conf
    driver = loading.find("inventory", "nova")
    loading.register(driver, conf)
    return loading.build(driver, conf, {"conf": conf})


@pytest.fixture(scope="module")
def server(tenant):
    return tenant.boot()


def test_an_instance_is_what_nova_and_neutron_say(inventory, tenant, server):
    found = inventory.instance(server.id, project=tenant.project)

    assert (found.id, found.project, found.name) == (server.id, tenant.project, "db")
    assert found.addresses == (tenant.fixed(server),)
    assert timedelta() < datetime.now(UTC) - found.built_at < timedelta(minutes=10)


def test_a_floating_address_comes_moves_and_goes(inventory, tenant, server):
    second = tenant.boot("web")
    floating = tenant.float(server)

    def addresses(of):
        return set(inventory.instance(of.id, project=tenant.project).addresses)

    try:
        assert addresses(server) == {tenant.fixed(server), floating.floating_ip_address}
        tenant.float(second, floating)
        assert addresses(server) == {tenant.fixed(server)}
        assert addresses(second) == {tenant.fixed(second), floating.floating_ip_address}
    finally:
        tenant.sdk.network.delete_ip(floating)
        guest.delete(tenant.sdk, second)


def test_a_port_that_somebody_else_made_for_an_instance_counts_for_nothing(
    inventory, admin, tenant, server, other
):
    port = admin.network.create_port(
        network_id=tenant.private.id, device_id=server.id, project_id=other
    )
    mine = tenant.sdk.network.create_port(network_id=tenant.private.id, device_id=server.id)
    try:
        found = inventory.instance(server.id, project=tenant.project)
        assert found.addresses == (_server_address(tenant, server),)
    finally:
        admin.network.delete_port(port)
        admin.network.delete_port(mine)


def _server_address(tenant, server):
    (port,) = (
        port
        for port in tenant.sdk.network.ports(device_id=server.id)
        if port.device_owner.startswith("compute:")
    )
    return port.fixed_ips[0]["ip_address"]


def test_an_instance_is_not_there_for_another_project(inventory, server, other):
    with pytest.raises(NotFound):
        inventory.instance(server.id, project=other)


def test_an_instance_that_never_was_is_not_there(inventory, tenant):
    with pytest.raises(NotFound):
        inventory.instance(NOWHERE, project=tenant.project)


def test_a_project_that_never_was_is_no_answer(inventory, server):
    with pytest.raises(Unavailable, match=ROLE):
        inventory.instance(server.id, project="9" * 32)


def test_all_instances_of_all_projects_are_listed(inventory, server):
    assert server.id in set(inventory.instances())
    inventory.check()


def test_a_rebuild_is_a_new_build(inventory, tenant):
    server = tenant.boot("rebuilt")
    before = inventory.instance(server.id, project=tenant.project)
    tenant.sdk.compute.rebuild_server(server, image=guest.image(tenant.admin))
    tenant.sdk.compute.wait_for_server(server, wait=60)
    after = inventory.instance(server.id, project=tenant.project)
    tenant.sdk.compute.reboot_server(server, "HARD")
    tenant.sdk.compute.wait_for_server(server, wait=60)

    assert after.built_at > before.built_at
    assert inventory.instance(server.id, project=tenant.project).built_at == after.built_at
    guest.delete(tenant.sdk, server)
    with pytest.raises(NotFound):
        inventory.instance(server.id, project=tenant.project)
    assert server.id not in set(inventory.instances())


def test_without_its_role_nothing_is_absent(inventory, tatu, cloud, server, tenant):
    """Another user of ours: the role of the first is cached with its token."""
    conf = config.load([*tatu.config]).conf
    driver = loading.find("inventory", "nova")
    loading.register(driver, conf)
    stranger = cloud.make("user", name="stranger-to-nova")
    cloud.assign("member", f"projects/{cloud.make('project')}", user=stranger)
    conf.set_override("username", "stranger-to-nova", group="inventory_nova")
    conf.set_override("password", "lab-somebody", group="inventory_nova")
    conf.set_override("project_name", None, group="inventory_nova")
    found = loading.build(driver, conf, {"conf": conf})

    with pytest.raises(Unavailable):
        found.instance(server.id, project=tenant.project)
    with pytest.raises(Unavailable):
        list(found.instances())
    with pytest.raises(Unavailable):
        found.check()


@pytest.mark.parametrize("service", ["nova-api", "neutron"])
def test_an_outage_is_no_absence(compute_lab, inventory, tenant, server, service):
    compute_lab.stop(service)
    try:
        with pytest.raises(Unavailable):
            inventory.instance(server.id, project=tenant.project)
        with pytest.raises(Unavailable):
            inventory.check()
    finally:
        compute_lab.start_again(service)
    assert inventory.instance(server.id, project=tenant.project)


# --- vendordata


def told(lab, server):
    """Return what a guest reads: when the answer took Nova too long, it asks again."""
    until = time.monotonic() + 60
    while not (found := guest.read_metadata(lab, server)["tatu"]):
        assert time.monotonic() < until
    return found


def post(url, body, token):
    headers = {"Content-Type": "application/json", "X-Auth-Token": token}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def enrol(tatu, told, key):
    """Enrol as the agent does; return what the certificate names."""
    token = enrolment.EnrolmentToken.parse(told["token"])
    facts = {"authority": token.authority, "host": token.host, "nonce": "7" * 64}
    with urllib.request.urlopen(f"{tatu.url}/v2", timeout=60) as answer:
        deployment = json.load(answer)["deployment"]
    message = enrolment.message(deployment=deployment, host_keys=[key.public], **facts)
    body = {
        **facts,
        "host_keys": [key.line],
        "mac": enrolment.request_mac(token.secret, message),
        "signatures": [key.sign(Namespace.ENROL, message)],
    }
    status, answer = post(f"{tatu.url}/v2/enrolments", body, "")
    assert status == 201, answer
    (line,) = json.loads(answer["answer"])["certificates"]
    return set(Certificate.parse(line).contents.principals)


def principals(lab, tatu, project, server):
    """What Tatu says that a host may be called now."""
    request = urllib.request.Request(
        f"{tatu.url}/v2/authorities/{project}/hosts/{server.id}",
        headers={"X-Auth-Token": lab.session().get_token()},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return set(json.load(answer)["principals"])


def test_a_real_guest_is_told_how_to_enrol_and_always_the_same(compute_lab, tatu, tenant):
    server = tenant.boot("told")
    first = told(compute_lab, server)
    assert (first["authority"], first["host"], first["url"]) == (
        tenant.project,
        server.id,
        tatu.url,
    )
    assert told(compute_lab, server) == first
    assert enrol(tatu, first, ClientKey()) == {server.id, "told", tenant.fixed(server)}
    again = told(compute_lab, server)
    assert "token" not in again
    assert again == {name: first[name] for name in again}


def test_a_rebuilt_guest_gets_a_token_again(compute_lab, tatu, tenant):
    server = tenant.boot("again")
    first = told(compute_lab, server)
    enrol(tatu, first, ClientKey())
    time.sleep(1.1)  # Nova tells in whole seconds when something was built
    tenant.sdk.compute.rebuild_server(server, image=guest.image(tenant.admin))
    until = time.monotonic() + 30
    while "token" not in (second := told(compute_lab, server)):
        assert time.monotonic() < until
    assert second["token"] != first["token"]
    assert enrol(tatu, second, ClientKey())


@pytest.mark.matrix
def test_a_floating_address_that_moved_is_the_new_holders_alone(compute_lab, tatu, tenant):
    one, two = tenant.boot("one"), tenant.boot("two")
    floating = tenant.float(one)
    address = floating.floating_ip_address
    assert address in enrol(tatu, told(compute_lab, one), ClientKey())
    tenant.float(two, floating)
    assert address in enrol(tatu, told(compute_lab, two), ClientKey())
    assert address not in principals(compute_lab, tatu, tenant.project, one)
    assert address in principals(compute_lab, tatu, tenant.project, two)


@pytest.mark.parametrize("forged", ["admin", {"instance-id": NOWHERE}, {"project-id": "9" * 32}])
def test_forged_vendordata_is_refused(compute_lab, tatu, tenant, server, forged):
    user = tatu.vendordata_user
    session = compute_lab.session("service", user["username"], user["password"])
    body = {"project-id": tenant.project, "instance-id": server.id, "user-data": None}
    if forged == "admin":
        session = compute_lab.session()
    else:
        body |= forged
    status, answer = post(f"{tatu.url}/v2/vendordata/nova", body, session.get_token())
    assert (status, answer["title"]) == (403, "Who asks may not")


@pytest.mark.matrix
def test_guests_that_ask_at_once_get_one_token_each(compute_lab, tatu, tenant):
    servers = [tenant.boot(f"many-{n}") for n in range(4)]
    began = time.monotonic()
    found = together(8, lambda n: told(compute_lab, servers[n % 4]))
    assert time.monotonic() - began < 60
    assert len({each["token"] for each in found}) == 4


def revoked(lab, tatu, server):
    """Whether each certificate that a host ever had is revoked."""
    request = urllib.request.Request(
        f"{tatu.url}/v2/host-certificates?host={server.id}",
        headers={"X-Auth-Token": lab.session().get_token()},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)["items"]
    assert found
    return all("revoked_at" in each for each in found)


def test_what_nova_and_neutron_tell_is_followed_by_the_worker(compute_lab, tatu, tenant):
    """By their own notifications: nobody asks for vendordata meanwhile."""
    one, two = tenant.boot("first"), tenant.boot("second")
    floating = tenant.float(one)
    address = floating.floating_ip_address
    assert address in enrol(tatu, told(compute_lab, one), ClientKey())
    enrol(tatu, told(compute_lab, two), ClientKey())
    compute = tenant.sdk.compute

    def names(server):
        return principals(compute_lab, tatu, tenant.project, server)

    tatu.start("worker")
    try:
        tenant.float(two, floating)
        tatu.wait(lambda: address in names(two) and address not in names(one), "worker", 60)
        assert revoked(compute_lab, tatu, one)
        assert not revoked(compute_lab, tatu, two)

        renamed = {"server": {"hostname": "renamed"}}
        assert compute.put(f"/servers/{one.id}", json=renamed, microversion="2.90").ok
        tatu.wait(lambda: "renamed" in names(one), "worker", 60)
        image = guest.image(tenant.admin)
        rebuilt = {"rebuild": {"imageRef": getattr(image, "id", image), "hostname": "rebuilt"}}
        path = f"/servers/{two.id}/action"
        assert compute.post(path, json=rebuilt, microversion="2.90").ok
        tatu.wait(lambda: "rebuilt" in names(two), "worker", 60)
        assert revoked(compute_lab, tatu, two)

        guest.delete(tenant.sdk, one)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            tatu.wait(lambda: not names(one), "worker", 60)
    finally:
        tatu.stop("worker")
