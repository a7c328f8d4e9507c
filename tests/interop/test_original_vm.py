"""A machine of the original boots: its scripts' pipelines with real curl and grep, a real sshd."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.api import deployment as deployments
from tests.api.original import DEMO, INSTANCE, original, original_template, served, who
from tests.e2e.cli_lab import Sshd
from tests.fakes.original.machine import DEADLINE, Machine, keygen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    template = deployments.template(tmp_path_factory.mktemp("template"))
    return original_template(template, tmp_path_factory.mktemp("made"))


@pytest.fixture
def wire(made, tmp_path):
    with original(made, tmp_path / "wire") as wire:
        yield wire


def boot(wire, url, folder) -> Machine:
    told = wire.boot("web").json
    told["api_endpoint"] = url  # where this test serves
    # as Nova writes what it was answered
    vendor_data = json.dumps({"static": {}, "tatu": told})
    meta_data = json.dumps({"uuid": INSTANCE, "hostname": "vm", "project_id": DEMO})
    return Machine(folder, meta_data, vendor_data)


def certified(wire, folder, role="member") -> tuple[Path, int]:
    """Get a user certificate as the command line does."""
    key = folder / f"{role}_key"
    keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "me@desk", "-f", key)
    made = wire.certificate(role, pub_key=key.with_suffix(".pub").read_text().strip()).json
    Path(f"{key}-cert.pub").write_text(made["cert"] + "\n")
    return key, made["serial"]


def test_the_scripts_read_all_that_they_look_for(wire, tmp_path):
    with served(wire.deployment.app) as url:
        machine = boot(wire, url, tmp_path / "vm")
        done = machine.run("setup-ssh.sh")
        assert done.returncode == 0, done.stdout + done.stderr
        facts = machine.facts
        assert set(facts.pop("users").split(",")) >= {"admin", "member", "manager"}
        assert facts == {
            "auth_id": DEMO,
            "pam_sudo": "false",
            "ssh_port": "2222",
            "sudoers": "admin",
        }
        certificate = keygen("-L", "-f", f"{machine.host_key}-cert.pub").stdout
        assert "host certificate" in certificate
        assert f"{INSTANCE}\n" in certificate
        assert machine.run("setup-ssh.sh").returncode == 0  # the same key may come again


def test_another_key_with_the_same_token_ends_the_script(wire, tmp_path):
    with served(wire.deployment.app) as url:
        machine = boot(wire, url, tmp_path / "vm")
        assert machine.run("setup-ssh.sh").returncode == 0
        for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub"):
            (machine.ssh / name).unlink()
        keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", machine.host_key)
        done = machine.run("setup-ssh.sh")
        assert done.returncode == 1
        assert "status 409" in done.stdout


def test_a_user_logs_in_to_such_a_machine_until_revoked(wire, tmp_path):
    with served(wire.deployment.app) as url:
        machine = boot(wire, url, tmp_path / "vm")
        assert machine.run("setup-ssh.sh").returncode == 0
        key, serial = certified(wire, tmp_path)
        ca = wire.call("GET", f"/v1/authorities/{DEMO}", who("reader")).json
        known = tmp_path / "known_hosts"
        known.write_text(f"@cert-authority * {ca['host_pub_key']}\n")
        user_authority = (machine.ssh / "ca_user.pub").read_text().strip()
        sshd = Sshd(machine.root, machine.host_key, [user_authority], ["member"])
        try:
            login = ["ssh", "-F", "none", "-i", key, "-p", str(sshd.port)]
            login += ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}"]
            login += ["-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes"]
            login += ["-o", "HostKeyAlias=web", "-o", "StrictHostKeyChecking=yes"]
            login += ["127.0.0.1", "echo", "in"]

            def logged_in():
                done = subprocess.run(
                    login, capture_output=True, text=True, timeout=DEADLINE, check=False
                )
                return done.stdout == "in\n"

            revoked = machine.ssh / "revoked-keys"
            for is_in in (True, False):
                done = machine.run("manage-revoked-keys.sh")
                assert done.returncode == 0, done.stdout
                found = keygen("-Q", "-f", revoked, f"{key}-cert.pub")
                assert (found.returncode == 0) is is_in, found.stdout + found.stderr
                sshd.revoked.write_bytes(revoked.read_bytes())
                assert logged_in() is is_in, sshd.log.read_text()
                path = f"/v1/revokeduserkeys/{DEMO}"
                wire.call("POST", path, who("member"), json={"serial": serial})
        finally:
            sshd.stop()
