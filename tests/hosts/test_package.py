"""The agent as a Debian package: installed, enrolled, upgraded and taken out on a real host."""

import subprocess

import pytest
from tools import deb

from tatu.agent import unit

CA = "/etc/tatu-ca.pem"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return deb.build(tmp_path_factory.mktemp("package"))


def state(host, unit="tatu-agent.service"):
    done = host.run(["systemctl", "show", "--value", "--property=ActiveState", unit])
    return done.stdout.strip()


def running(host):
    return host.run(["ps", "-eo", "args"]).stdout


def files(host):
    """Return what is in the folders that the agent writes to, as dpkg and people left it."""
    script = (
        "find /etc/ssh /etc/pam.d /etc/sudoers.d /etc/systemd/system /etc/tatu-agent"
        " /usr/lib/tatu-agent /usr/sbin/tatu-agent -type f -exec sha256sum {} + 2>/dev/null"
        " | sort || true"
    )
    return host.run(["sh", "-c", script]).stdout


def test_systemd_takes_the_unit_and_hands_the_words_on_as_they_are(boot):
    options = ["--ca-file=/etc/a $b %c", "--reload-command=sh -c 'echo \\1 \"\"'"]
    host, path = boot("db-1"), f"/etc/systemd/system/{unit.NAME}"
    host.write(path, unit.text("/bin/echo", options))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path]
    said = host.run(command, check=False).stderr
    assert unit.NAME not in said, said
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", "--no-block", unit.NAME])
    given = " ".join(["run", *options])
    host.wait_until(lambda: given in host.journal(unit.NAME).splitlines(), "it hands on others")
    host.run(["systemctl", "stop", unit.NAME])


def test_the_package_installs_enrols_and_leaves_the_machine_as_it_was(
    boot, fleet, project, package
):
    host = boot("db-1")
    before = files(host)
    host.write("/opt/tatu-agent.deb", package.read_bytes())
    host.write(CA, project.tatu.certificate.read_bytes())
    host.run(["dpkg", "--install", "/opt/tatu-agent.deb"])
    host.wait_until(lambda: state(host) == "active", "the agent does not run")

    made = project.admin.json("token", "create", host.name, "--address", host.address)
    host.run(["tatu-agent", "enrol", "--token-file", "-", "--ca-file", CA], input=made["token"])
    bob = project.person("bob", "member")
    serial = bob.certify()["serial"]
    login = bob.ssh(host, "member", "id", "-un")
    assert login.stdout == "member\n", login.stderr + host.journal("ssh")

    with fleet.inside():
        session = subprocess.Popen(
            bob.ssh_command(host, "member", "setsid", "-w", "sleep", "600"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        host.wait_until(lambda: "sleep 600" in running(host), "the session does not begin")
        bob.run("usercert", "revoke", serial, "--reason", "test")
        host.wait_until(
            lambda: bob.ssh(host, "member", "true").returncode == 255,
            "the agent that the package started does not obey",
        )
        # the unit leaves the agent what it needs for that, and to hold what flees
        host.wait_until(lambda: "sleep 600" not in running(host), "the session does not end")
        assert session.wait(60) == 255
        shown = host.run(["systemctl", "show", "--value", "--property=MainPID", "tatu-agent"])
        inside = ["nsenter", "--mount", f"--target={shown.stdout.strip()}"]
        host.run([*inside, "test", "-w", "/sys/fs/cgroup/user.slice"])
        assert host.run([*inside, "test", "-w", "/proc/sys/kernel"], check=False).returncode == 1
    finally:
        session.kill()
        session.wait()
    host.run(["dpkg", "--install", "/opt/tatu-agent.deb"])  # an upgrade keeps the enrolment
    host.wait_until(lambda: state(host) == "active", "the agent does not run")
    assert "obeying" in host.run(["tatu-agent", "sync"]).stdout

    host.run(["dpkg", "--purge", "tatu-agent"])
    assert files(host) == before
    assert state(host) == "inactive"
    host.run(["/usr/sbin/sshd", "-t"])
    assert bob.ssh(host, "member", "true").returncode == 255
