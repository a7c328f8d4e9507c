"""The agent's loop on real hosts, as Tatu tells of it: who is and was logged in, and where a revocation holds."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.lab.hosts.fleet import GATEWAY
from tests.lab.server import wait_until


@pytest.fixture(scope="module")
def project(tatu):
    """One project for all of these tests."""
    return tatu.project()


@pytest.fixture(scope="module")
def hosts(fleet, project):
    """Two hosts that an operator admitted, with their loops."""
    hosts = fleet.boot("db-1", "db-2")
    for host in hosts:
        project.enrol(host)
        host.start_loop()
    return hosts


def revoke(project, serial, *options, status=0):
    """Revoke a certificate, and return what is said of the hosts that refuse it."""
    words = ("usercert", "revoke", serial, "--reason", "test", "--wait", *options)
    done = project.admin.run(*words, status=status)
    return done.stdout + done.stderr


def test_an_operators_token_enrols_any_host(hosts, project):
    joe = project.person("joe", "member")
    joe.certify()
    for host in hosts:
        assert project.shown(host)["state"] == "enrolled"
        assert joe.ssh(host, "member", "id", "-un").stdout == "member\n", host.journal("ssh")


def test_a_revocation_ends_the_session_and_is_receipted_within_seconds(hosts, project):
    host, _ = hosts
    bob, mary = project.person("bob", "member"), project.person("mary", "member")
    serial, other = bob.certify()["serial"], mary.certify()["serial"]
    began = datetime.now(UTC) - timedelta(seconds=1)
    with (
        project.session(bob.ssh_command(host, "member", "echo in; sleep 600")) as session,
        project.session(mary.ssh_command(host, "member", "echo in; sleep 600")) as kept,
    ):
        assert session.stdout.readline() == kept.stdout.readline() == "in\n", host.journal("ssh")

        def live():
            found = project.admin.json("host", "sessions", host.name)
            return {each["serial"]: each for each in found}

        wait_until(lambda: live().keys() == {serial, other})
        shown = live()[serial]
        assert (shown["account"], shown["user_name"]) == ("member", bob.name)
        assert (shown["source"], shown["alarm"]) == (GATEWAY, "")
        assert shown["key_id"].startswith(bob.name)
        assert began <= datetime.fromisoformat(shown["since"]) <= datetime.now(UTC)

        said = revoke(project, serial)
        assert re.search(r"refused on 2/2 hosts in \d+\.\d s", said), said
        refused = bob.ssh(host, "member", "true")
        assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
        assert session.wait(60) == 255
        wait_until(lambda: live().keys() == {other})
        assert kept.poll() is None, "a session by another certificate lives on"
        kept.kill()


def test_a_host_whose_agent_is_stopped_is_named(hosts, project):
    _, silent = hosts
    ann = project.person("ann", "member")
    serial = ann.certify()["serial"]
    assert ann.ssh(silent, "member", "true").returncode == 0, silent.journal("ssh")
    silent.run(["systemctl", "stop", "tatu-loop"])
    said = revoke(project, serial, "--timeout", "3s", status=1)
    assert re.search(r"refused on 1/2 hosts in \d+\.\d s\nmissing: db-2\n", said), said
    assert ann.ssh(silent, "member", "true").returncode == 0, "it has not heard of it"
    silent.start_loop()
    said = revoke(project, serial)
    assert "refused on 2/2 hosts" in said
    assert ann.ssh(silent, "member", "true").returncode == 255


def test_logins_are_told_and_joined_and_one_by_a_stolen_authority_is_an_alarm(
    hosts, project, tatu
):
    _, host = hosts
    eve = project.person("eve", "member")
    serial = eve.certify()["serial"]
    certificate = eve.state / "id_ed25519-cert.pub"
    honest = certificate.read_text()
    assert eve.ssh(host, "member", "true").returncode == 0, host.journal("ssh")
    assert eve.ssh(host, "admin", "true").returncode == 255
    unknown = 2**40
    certificate.write_text(project.forged(honest, serial=unknown) + "\n")
    assert eve.ssh(host, "member", "true").returncode == 0, "sshd cannot tell"
    certificate.write_text(honest)
    host.run(["systemctl", "stop", "tatu-loop"])
    host.start_loop()  # it reads sshd's journal when it starts, and each two minutes

    def told():
        found = project.admin.json("login", "list", "--host", host.name)
        of_eve = [each for each in found if each["serial"] in (serial, unknown)]
        return {
            (each["kind"], each["account"], each["serial"], each["user_name"], each["alarm"])
            for each in of_eve
        }

    expected = {
        ("accepted", "member", serial, eve.name, ""),
        ("ended", "member", serial, eve.name, ""),
        ("refused", "admin", serial, eve.name, ""),
        ("accepted", "member", unknown, "", "unknown serial"),
        ("ended", "member", unknown, "", ""),
    }
    wait_until(lambda: told() >= expected)
    assert told() == expected
    assert tatu.manage("audit", "export", "-").count('"why":"unknown serial"') == 1


def test_the_loop_ends_cleanly_and_says_each_thing_once(hosts):
    host, _ = hosts
    wait_until(lambda: "obeying statement" in host.journal("tatu-loop"))
    host.run(["systemctl", "stop", "tatu-loop"])
    said = [line for line in host.journal("tatu-loop").splitlines() if "tatu-agent:" in line]
    assert len(said) == len(set(said)), said
    assert "Traceback" not in host.journal("tatu-loop")
