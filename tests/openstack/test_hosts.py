"""A real Nova and real hosts: by Neutron's metadata agent, and by a config drive; the certificates are by Keystone's roles."""

import contextlib
import json
import subprocess
import sys
import time

import openstack
import pytest

from tatu import agentfile
from tests.lab import proxies
from tests.lab.hosts import guard
from tests.lab.hosts.fleet import Fleet
from tests.lab.hosts.network import METADATA
from tests.lab.openstack import guest, neutron
from tests.lab.openstack.process import answers
from tests.lab.openstack.site import REGION
from tests.lab.server import free_port, wait_until
from tests.openstack.clouds import PASSWORD, Cloud
from tests.openstack.deployment import deployed
from tests.openstack.guides import Somebody, blocks

pytestmark = pytest.mark.matrix

GUIDE = "operations/instances.md"
NO_NETWORK = "datasource: {OpenStack: {apply_network_config: false}}\n"
SOON = 120.0
"""Seconds from the role's end to the end of the session, on a machine that does much else."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Fleet.start(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def tatu(compute_lab, tmp_path_factory):
    """A deployment as the guide has it for instances that reach nothing but the metadata address."""
    folder = tmp_path_factory.mktemp("hosts")
    (settings,) = blocks(GUIDE, "ini tatu.conf")
    agent = folder / "agents/tatu-agent"  # the same while its sources change
    agent.parent.mkdir()
    agentfile.write(agent)
    more = f"{settings}[agent]\ndirectory = {agent.parent}\n"
    with deployed(compute_lab, folder, more) as made:
        made.start("api").start("worker")
        static = folder / "vendordata.json"
        with static.open("w") as out, contextlib.redirect_stdout(out):
            made.manage("vendordata", "static", f"--agent={agent}")
        compute_lab.configure_vendordata(made.vendordata("/v2/vendordata/nova", static))
        yield made


@pytest.fixture(scope="module")
def metadata(compute_lab, fleet, tatu, tmp_path_factory):
    """The guide's proxy, and Neutron's agent before it; returns how to open a network's way there."""
    folder, port = tmp_path_factory.mktemp("metadata"), free_port()
    instead = {
        8775: port,
        8322: tatu.port,
        18775: compute_lab.ports["nova-metadata"],
    }

    @contextlib.contextmanager
    def opened(network):
        file = folder / f"{network}.conf"
        file.write_text(neutron.metadata_proxy(compute_lab, network, METADATA))
        with (folder / "network.log").open("wb") as log, fleet.inside():
            proxy = subprocess.Popen(
                guard.within(f"{fleet.name}/proxy", ["haproxy", "-db", "-f", str(file)]),
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            proxy.terminate()
            proxy.wait(30)

    text = proxies.told(GUIDE, "haproxy")
    answering = answers(f"http://127.0.0.1:{port}/openstack")
    with proxies.running("haproxy", text, folder / "guide", instead, answering):
        services = neutron.metadata_services(compute_lab, compute_lab.processes, port)
        for service in services:
            service.start()
        yield opened
        for service in services:
            service.stop()


class CloudProject:
    """A project of Keystone's: its people by name, and its network, which is the fleet's."""

    ROLES = {"alice": ("manager",), "bob": ("member", "reader"), "mary": ("member",)}  # noqa: RUF012

    def __init__(self, lab, folder):
        self.lab = lab
        self.cloud, self.admin = Cloud(lab), lab.cloud()
        self.id = self.cloud.make("project")
        self.users = {name: self.cloud.make("user") for name in self.ROLES}
        for name, roles in self.ROLES.items():
            for role in roles:
                self.cloud.assign(role, f"projects/{self.id}", user=self.users[name])
        self.people = Somebody(folder, {name: self._clouds(name) for name in self.users}, {})
        self.network = self.admin.network.create_network(name="fleet", project_id=self.id)
        self.admin.network.create_subnet(
            network_id=self.network.id, ip_version=4, cidr="10.99.0.0/16"
        )

    def _clouds(self, name):
        auth = {
            "auth_url": self.lab.keystone_url,
            "user_id": self.users[name],
            "password": PASSWORD,
            "project_id": self.id,
        }
        return {"auth": auth, "region_name": REGION}

    def run(self, name, words, **options):
        """Have somebody run `openstack`, and return what it printed."""
        return self.people.run(f"OS_CLOUD={name} openstack {words}", **options)

    def json(self, name, words):
        return json.loads(self.run(name, f"{words} --format json"))

    def boot(self, host, name):
        """Have Bob boot an instance, which Nova only pretends to run, where a host of the fleet is."""
        address = [{"ip_address": host.address}]
        port = self.admin.network.create_port(
            network_id=self.network.id,
            project_id=self.id,
            fixed_ips=address,
        )
        session = self.cloud.session(self.users["bob"], project_id=self.id)
        bob = openstack.connection.Connection(session=session, region_name=REGION)
        return guest.boot(bob, name, networks=[{"port": port.id}], admin=self.admin)

    def certify(self, name):
        """Have somebody ask for a certificate; return its serial, and how they log in with it as a member."""
        made = self.json(name, "ssh usercert create")
        known = self.people.folder / "known_hosts"
        known.write_text(self.run(name, "ssh known-hosts"))
        options = {
            "BatchMode": "yes",
            "CertificateFile": made["file"],
            "IdentitiesOnly": "yes",
            "IdentityFile": made["file"].removesuffix("-cert.pub"),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known,
        }
        words = [f"-o{name}={value}" for name, value in options.items()]

        def ssh(host, server, *command):
            alias = f"-oHostKeyAlias={server.id}"
            return ["ssh", "-F", "none", *words, alias, f"member@{host.address}", *command]

        return made["serial"], ssh


@pytest.fixture
def project(compute_lab, tatu, tmp_path):
    made = CloudProject(compute_lab, tmp_path / "home")
    made.run("alice", "ssh ca create")
    return made


@pytest.fixture
def instances(compute_lab, fleet, metadata, project):
    """Two hosts with the servers that they are: one asks the metadata service, the other has a drive of its answers."""
    asking, driven = fleet.new("asking"), fleet.new("driven")
    servers = {host: project.boot(host, host.name) for host in (asking, driven)}
    told = {
        name: guest.read_metadata_text(compute_lab, servers[driven], f"latest/{name}")
        for name in ("meta_data.json", "vendor_data.json", "vendor_data2.json")
    }
    driven.boot_drive(told)
    with metadata(project.network.id):
        # it is on its network already, by an interface that Neutron does not know
        asking.write("/etc/cloud/cloud.cfg.d/99-lab.cfg", NO_NETWORK)
        asking.boot(by_service=True)
        driven.boot()
        for host in servers:
            host.wait()
            host.wait_until(host.enrolled_at, "it does not enrol")
        yield servers


def test_the_end_of_a_role_ends_its_sessions_on_the_instances_of_a_real_cloud(
    fleet, project, instances, capsys
):
    listed = {host["id"]: host["state"] for host in project.json("alice", "ssh host list")}
    assert listed == dict.fromkeys([server.id for server in instances.values()], "enrolled")
    serial, bob = project.certify("bob")
    _, mary = project.certify("mary")
    work = "echo begun; sleep 600"
    with contextlib.ExitStack() as stack:

        def begun(login, host):
            with fleet.inside():
                session = subprocess.Popen(
                    login(host, instances[host], work),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            stack.enter_context(session)
            stack.callback(session.kill)
            assert session.stdout.readline() == "begun\n", session.stderr.read()
            return session

        sessions = [begun(bob, host) for host in instances]
        others = [begun(mary, host) for host in instances]
        began = time.monotonic()
        project.cloud.unassign("member", f"projects/{project.id}", user=project.users["bob"])
        for session in sessions:
            _, said = session.communicate(timeout=SOON)
            assert (session.returncode, "closed by remote host" in said) == (255, True), said
        took = time.monotonic() - began
        assert [session.poll() for session in others] == [None, None]
    with capsys.disabled():
        sys.stdout.write(f"\nfrom the end of the role to that of its sessions: {took:.1f} s\n")
    for host, server in instances.items():
        refused = fleet.run(bob(host, server, "true"))
        assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
        assert fleet.run(mary(host, server, "id", "-un")).stdout == "member\n"
    assert "revoked" in str(project.json("alice", f"ssh usercert show {serial}"))
    receipts = {
        server.id: wait_until(
            lambda server=server: project.json("alice", f"ssh host show {server.id}")["receipt_at"]
        )
        for server in instances.values()
    }
    assert all(receipts.values())
