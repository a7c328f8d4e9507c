"""An instance of a real Nova boots as the original's do: its metadata, its scripts, our answers."""

import json

import openstack
import pytest

from tests.fakes.original.client import OriginalClient
from tests.fakes.original.machine import Machine, keygen
from tests.lab.openstack import guest
from tests.lab.openstack.site import REGION
from tests.openstack.clouds import Cloud
from tests.openstack.deployment import deployed

SETTINGS = "[original_wire]\nenabled = true\nnoauth = true\n"


@pytest.fixture(scope="module")
def tatu(compute_lab, tmp_path_factory):
    """A deployment that Nova asks by the original's path."""
    with deployed(compute_lab, tmp_path_factory.mktemp("original"), SETTINGS) as made:
        made.start()
        compute_lab.configure_vendordata(made.vendordata("/v1/novavendordata"))
        yield made


def test_an_instance_enrols_by_what_nova_told_it(compute_lab, tatu, tmp_path):
    admin, cloud = compute_lab.cloud(), Cloud(compute_lab)
    project, user = cloud.make("project"), cloud.make("user")
    cloud.assign("manager", f"projects/{project}", user=user)
    session = cloud.session(user, project_id=project)
    client = OriginalClient(session)
    assert client.ca_create(project)["auth_id"] == project
    sdk = openstack.connection.Connection(session=session, region_name=REGION)
    server = guest.boot(sdk, "web", admin=admin)

    meta_data, vendor_data = (
        guest.read_metadata_text(compute_lab, server, f"latest/{name}")
        for name in ("meta_data.json", "vendor_data2.json")
    )
    told = json.loads(vendor_data)["tatu"]
    assert (
        json.loads(guest.read_metadata_text(compute_lab, server, "latest/vendor_data2.json"))[
            "tatu"
        ]
        == told
    )
    machine = Machine(tmp_path / "vm", meta_data, vendor_data)
    done = machine.run("setup-ssh.sh")
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.facts["auth_id"] == project
    assert machine.facts["pam_sudo"] == "false"
    shown = keygen("-L", "-f", f"{machine.host_key}-cert.pub").stdout
    assert f"{server.id}\n" in shown
    assert machine.run("manage-revoked-keys.sh").returncode == 0

    (host,) = client.host_list()
    assert (host["id"], host["name"]) == (server.id.replace("-", ""), "web")
    assert [found["host_id"] for found in client.hostcert_list()] == [host["id"]]
