"""The whole way, on real hosts: from the boot of an instance to the end of access, as people and Tatu see it."""

import time
from uuid import uuid4

import pytest

from tests.lab.hosts.metadata import metadata
from tests.lab.server import wait_until

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIhzM3uyAlG7s5mUkD7K2yyJ2JBT2M1dwHvzkG6hFvC mine"

ENROLMENT = 3.0
"""Seconds that an instance may take to enrol after sshd is up, on a machine that does little else."""

USER_DATA = f"""\
#cloud-config
ssh_authorized_keys: ["{KEY}"]
runcmd: [[touch, /var/lib/used]]
"""
"""A user's own, which would replace the vendordata's commands if it had any."""


@pytest.fixture(scope="module")
def project(tatu):
    """One project for all of the way."""
    return tatu.project()


@pytest.fixture(scope="module")
def build(fleet, project):
    """Boot an instance as the cloud does: by the drive that Nova makes, with nothing of Tatu's in the image."""

    def one(drive=None, **options):
        made = fleet.new(str(uuid4()), **options)
        project.trust(made)
        made.boot_drive(drive or project.instance(made, "db") | {"user_data": USER_DATA})
        made.boot()
        return made

    return one


@pytest.fixture(scope="module")
def instance(build):
    """An instance that enrolled by itself; the last test is one that takes it away."""
    made = build()
    made.wait_until(made.enrolled_at, "it does not enrol")
    return made


def test_access_begins_at_boot_and_ends_everywhere_with_the_role(instance, project):
    bob, mary = project.person("bob", "admin"), project.person("mary", "admin")
    serial = bob.certify()["serial"]
    mary.certify()
    login = bob.ssh(instance, "admin", "id", "-un")
    assert login.stdout == "admin\n", login.stderr + instance.journal("ssh")
    before = wait_until(lambda: project.shown(instance)["krl_version"])
    work = "while sudo -n true; do echo root; sleep 0.1; done; echo refused; sleep 600"
    with (
        project.session(bob.ssh_command(instance, "admin", work)) as session,
        project.session(mary.ssh_command(instance, "admin", work)) as other,
    ):
        assert session.stdout.readline() == other.stdout.readline() == "root\n"
        began = time.monotonic()
        role = ("--user", bob.name, "--project", project.name, "admin")
        project.admin.run("role", "remove", *role)
        _, said = session.communicate(timeout=60)
        assert time.monotonic() - began < 30
        assert session.returncode == 255
        assert "closed by remote host" in said
        assert other.poll() is None, "a session by another certificate lives on"
        other.kill()
    refused = bob.ssh(instance, "admin", "true")
    assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
    assert mary.ssh(instance, "admin", "sudo", "-n", "id", "-un").stdout == "root\n"
    wait_until(lambda: project.shown(instance)["krl_version"] > before)

    def told():
        found = project.admin.json("login", "list", "--host", instance.name)
        return {each["kind"] for each in found if each["serial"] == serial}

    # it reads the journal each two minutes, and when it starts
    instance.run(["systemctl", "restart", "tatu-agent"])
    wait_until(lambda: told() >= {"accepted", "refused", "ended"})


def test_an_instance_enrols_within_seconds_and_keeps_what_is_its_users(instance, project):
    took = instance.enrolled_at() - instance.said_at("ssh", "Server listening")
    assert took < 10 * ENROLMENT  # `make bench` measures it; here much else may run
    assert "enrolment: " not in instance.journal("tatu-agent"), "it took more than one attempt"
    wait_until((instance.root / "var/lib/used").exists)
    assert KEY.split()[1] in instance.run(["sh", "-c", "cat ~debian/.ssh/authorized_keys"]).stdout
    keys = list((instance.root / "etc/ssh").glob("ssh_host_*_key"))
    assert len(project.shown(instance)["host_keys"]) == len(keys) == 2
    for key in keys:
        certificate = instance.root / "etc/ssh/tatu" / f"{key.name}-cert.pub"
        assert certificate.exists()


def test_an_instance_without_a_drive_asks_the_metadata_service(fleet, project):
    host = fleet.new(str(uuid4()))
    project.trust(host)
    host.boot_drive(project.instance(host, "db"))
    with metadata(fleet) as asked:
        host.boot(by_service=True)
        host.wait_until(host.enrolled_at, "it does not enrol")
    assert (host.address, "/openstack/latest/vendor_data2.json") in asked
    assert project.shown(host)["state"] == "enrolled"


def on_drive(host):
    """Return what a host's drive says."""
    folder = host.drive / "openstack/latest"
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_only_the_machine_that_enrolled_is_the_instance(instance, build, project):
    thief = build(drive=on_drive(instance))
    wait_until(lambda: project.shown(instance)["refused_at"])
    assert thief.enrolled_at() is None
    assert not (thief.root / "etc/ssh/sshd_config.d/00-tatu.conf").exists()

    instance.cut_power()
    copy = build(disk_of=instance)
    instance.boot()
    for host in (copy, instance):
        host.wait()
    copy.wait_until(copy.enrolled_at, "it does not enrol")
    assert project.shown(copy)["host_keys"] != project.shown(instance)["host_keys"]
    sue = project.person("sue", "member")
    sue.certify()
    for host in (instance, copy):
        login = sue.ssh(host, "member", "id", "-un")
        assert login.stdout == "member\n", login.stderr + host.journal("tatu-agent")
