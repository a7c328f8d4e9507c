"""A virtual machine: a kernel, a boot and a disc of its own, as in a cloud."""

from uuid import uuid4

import pytest
import yaml

from tests.lab.server import wait_until

pytestmark = pytest.mark.matrix


@pytest.fixture
def machine(fleet, project):
    made = fleet.new_vm(str(uuid4()))
    path, content = project.trusted
    told = {"write_files": [{"path": path, "content": content}]}
    user_data = f"#cloud-config\n{yaml.safe_dump(told)}"
    made.boot_drive(project.instance(made, "vm") | {"user_data": user_data})
    made.boot()
    made.wait()
    yield made
    fleet.remove(made)


def test_a_virtual_machine_enrols_by_the_disc_that_nova_makes(machine, project):
    wait_until(lambda: project.shown(machine)["state"] == "enrolled", 300)
    bob = project.person("bob", "admin")
    bob.certify()

    def first_process():
        """Read it as root, by a login: what Tatu calls enrolled has its sshd reloaded a moment later."""
        return bob.ssh(machine, "admin", "sudo", "-n", "cat", "/proc/1/comm").stdout

    assert wait_until(first_process, 120) == "systemd\n"
    project.admin.run("role", "remove", "--user", bob.name, "--project", project.name, "admin")
    wait_until(lambda: bob.ssh(machine, "admin", "true").returncode == 255, 60)
