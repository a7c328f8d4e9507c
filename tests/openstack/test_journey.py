"""The journey of docs/try-it.md, its commands as they stand: real services, real ssh, a real instance's sshd."""

import contextlib
import subprocess
import sys
import time

import pytest
import yaml

from tatu import agentfile
from tatu.client import ready
from tests.fakes.instance import Instance, script_of
from tests.lab.openstack import guest
from tests.openstack.deployment import deployed
from tests.openstack.guides import Somebody, administrator, blocks, sections

METADATA = "http://169.254.169.254/openstack/"
AGENT = "http://files.example/tatu-agent"
PROGRAM = "/usr/lib/tatu-agent/tatu-agent"
SOON = 60
"""Seconds from the role's end to the refusal, on a machine that does much else."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    """The agent as one file, as instances fetch it."""
    file = tmp_path_factory.mktemp("files") / "tatu-agent"
    agentfile.write(file)
    return file


@pytest.fixture(scope="module")
def tatu(compute_lab, agent, tmp_path_factory):
    """A deployment whose Nova gives instances both kinds of vendordata, as the guide has it."""
    folder = tmp_path_factory.mktemp("journey")
    with deployed(compute_lab, folder) as made:
        made.start("api").start("worker")
        static = folder / "vendordata.json"
        words = (f"--agent-url={AGENT}", f"--agent={agent}")
        with static.open("w") as out, contextlib.redirect_stdout(out):
            made.manage("vendordata", "static", *words)
        compute_lab.configure_vendordata(made.vendordata("/v2/vendordata/nova", static))
        yield made


@pytest.fixture
def people(compute_lab, tatu, tmp_path):
    """Administrator, Alice and Bob at one machine, with the clouds that the guide writes down."""
    (text,) = blocks("try-it.md", "yaml")
    text = text.replace("https://keystone.example.org/v3", compute_lab.keystone_url)
    clouds = {**yaml.safe_load(text)["clouds"], "admin": administrator(compute_lab)}
    words = "--image debian --flavor small"
    return Somebody(tmp_path / "home", clouds, {words: "--image tiny --flavor tiny"})


@pytest.fixture
def boot(compute_lab, agent, tmp_path):
    """Boot what Nova only pretends to run; it reads what Nova tells it, and does what cloud-init would."""
    running = []

    def booted(server):
        def network(url):
            if url == AGENT:
                return agent.read_bytes()
            path = url.removeprefix(METADATA)
            return guest.read_metadata_text(compute_lab, server, path).encode()

        instance = Instance(tmp_path, network)
        running.append(instance)
        instance.run(script_of(guest.read_metadata(compute_lab, server)["static"]))
        told = guest.read_metadata_text(compute_lab, server, "latest/vendor_data2.json")
        # what the service does where there is a systemd
        instance.run(f"{PROGRAM} enrol --insecure-http --vendordata - <<'EOF'\n{told}\nEOF\n")
        return instance

    yield booted
    for instance in running:
        instance.stop()


def make_what_every_cloud_has(admin):
    """Make the image, the flavor and the project's network, which the guide takes for granted."""
    guest.image(admin)
    guest.flavor(admin)
    project = admin.identity.find_project("blue")
    network = admin.network.create_network(name="private", project_id=project.id)
    admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.30.0.0/24")


def plain_ssh(people, words):
    """Return the ssh command that `openstack ssh ssh` becomes."""
    (state,) = (people.folder / ".local/state/tatu").glob("openstack-*")
    return ready.ssh_command(
        str(state), ready.Ready.load(str(state / "ready.json")), "member@web", words
    )


def test_a_role_opens_an_instance_and_its_end_closes_it(compute_lab, tatu, people, boot, capsys):
    making, authority, booting, listing, login, ending, again = blocks("try-it.md")
    people.run(making)
    admin = compute_lab.cloud()
    make_what_every_cloud_has(admin)
    assert "statement active" in people.run(authority)
    people.run(booting)
    (server,) = admin.compute.servers(
        all_projects=True, name="^web$", project_id=admin.identity.find_project("blue").id
    )

    instance = boot(server)
    listed = people.run(listing)
    assert "enrolled" in listed
    assert server.id in listed

    # the instance's address leads nowhere here, and nobody sits at its shell
    words = f"-F none -o BatchMode=yes -o HostName=127.0.0.1 -p {instance.port} id -un".split()
    there = f"member@web -- {' '.join(words)}"
    assert people.run(login.replace("member@web", there)).endswith("\nmember\n")

    people.run(ending)
    began = time.monotonic()
    command = plain_ssh(people, words)
    while subprocess.run(command, capture_output=True, check=False).returncode == 0:
        assert time.monotonic() - began < SOON, instance.log.read_text() + tatu.log("worker")
        instance.run(f"{PROGRAM} sync")
    took = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(f"\nfrom the end of the role to the refusal: {took:.1f} s\n")
    assert "Permission denied (publickey)" in people.run(again.replace("member@web", there), 255)
    assert "revoked by file" in instance.log.read_text()


def test_nova_is_configured_as_the_installation_guide_says(compute_lab, tatu):
    (text,) = blocks("operations/openstack.md", "ini nova.conf for the metadata .*?")
    real = sections((compute_lab.folder / "nova/nova-metadata.conf").read_text())["api"]
    told = sections(
        text.replace("https://tatu.example.org", tatu.url).replace(
            "/etc/nova/tatu-vendordata.json", str(tatu.folder / "vendordata.json")
        )
    )["api"]
    assert told == {name: real[name] for name in told}
