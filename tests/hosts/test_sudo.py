"""sudo by proof, on a real host: who has their login's key becomes root, and nobody else (S15)."""

import itertools
import json
import os
import shlex
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from tests.e2e.cli_lab import TATU
from tests.lab.hosts.tatu import Tatu
from tests.lab.server import wait_until

NOT_OURS = "SSH_AUTH_SOCK is not the agent of this login"
PARTS = ("/usr/lib/tatu-agent/sudo", "/usr/local/sbin/tatu-agent", "/var/lib/tatu-agent")
DAMAGES = (
    "rm /usr/lib/tatu-agent/sudo",
    "rm /usr/local/sbin/tatu-agent",
    "rm /var/lib/tatu-agent/state.json",
    "rm /var/lib/tatu-agent/krl-*",
    "for list in /var/lib/tatu-agent/krl-*; do : >$list; done",
)
REFRESH = """
import sys; sys.path.insert(0, "/usr/local/sbin/tatu-agent")
from datetime import datetime, timezone
from pathlib import Path
from tatu.agent.layout import Layout
from tatu.agent.state import Store
from tatu.agent.sync import refresh
root = Path("/")
layout = Layout(root, root / "etc/ssh/sshd_config", "/usr/sbin/sshd", "tatu", "")
refresh(layout, Store(layout.state), lambda: datetime.now(timezone.utc))
"""
"""What a round of the agent begins with; sessions end a moment later."""

PATIENCE = 12
"""Seconds that sudo may take at most when an agent hangs, and a little for a busy machine."""


@pytest.fixture(scope="module")
def project(fleet, tmp_path_factory):
    """A project whose hosts ask for a proof."""
    folder = tmp_path_factory.mktemp("sudo")
    with Tatu.start(fleet, folder, "[authority]\npam_sudo = true\n") as tatu:
        yield tatu.project()


@pytest.fixture(scope="module")
def host(fleet, project):
    host = fleet.host("sudo-1")
    project.enrol(host)
    host.run(["useradd", "--create-home", "ops"])
    host.run(["chpasswd"], input="ops:correct horse\n")
    host.write("/etc/sudoers.d/ops", "ops ALL=(ALL) ALL\n", 0o440)
    return host


@pytest.fixture(scope="module")
def bob(project):
    return project.person("bob", "admin", "member")


@pytest.fixture(scope="module")
def carol(project):
    return project.person("carol", "admin")


def by_tatu(person, host, script, account="admin"):
    """Run a script on a host by `tatu ssh`; return what it printed, refusals of sudo as well."""
    done = person.run("ssh", f"{account}@{host.name}", "--", f"exec 2>&1\n{script}")
    return done.stdout.splitlines()


@contextmanager
def logged_in(person, host, account="admin", *, tatu=False, forwarded=None, agent=None):
    """Keep a login of a person's open, and yield what runs a command in it.

    By `tatu ssh`, or by plain ssh with an agent that is forwarded.
    """
    agent = agent or forwarded
    with person.server.fleet.inside():
        if tatu:
            command = [TATU, "ssh", f"{account}@{host.name}", "--", "sh"]
        else:
            command = person.ssh_command(host, account, "sh")
            # an agent must answer, or ssh forwards none
            given = {"ForwardAgent": forwarded, "IdentityAgent": agent} if forwarded else {}
            command[1:1] = [f"-o{name}={path}" for name, path in given.items()]
        shell = subprocess.Popen(
            ["timeout", "60", *map(str, command)],
            env=person.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(script):
        shell.stdin.write(f"{{ {script}\n}} 2>&1 </dev/null; echo; echo END\n")
        shell.stdin.flush()
        lines = []
        for line in shell.stdout:
            if line == "END\n":
                break
            lines.append(line.rstrip("\n"))
        else:
            pytest.fail(f"the login ended: {lines}")
        return [line for line in lines if line]

    try:
        yield run
    finally:
        shell.stdin.close()
        shell.wait(30)
        shell.stdout.close()


@contextmanager
def ssh_agent(tmp_path, *keys):
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
    until = time.monotonic() + 30
    asked = {"env": environment, "capture_output": True, "stdin": subprocess.DEVNULL}
    try:
        while subprocess.run(["ssh-add", "-l"], check=False, **asked).returncode == 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        for key in keys:
            subprocess.run(["ssh-add", "-q", key], check=True, **asked)
        yield path
    finally:
        process.terminate()
        process.wait(30)


def events(host, kind):
    text = host.run(["cat", "/var/lib/tatu-agent/spool/events"]).stdout
    return [
        found
        for found in map(json.loads, filter(None, text.splitlines()))
        if found["kind"] == kind
    ]


def refused(lines, why):
    said = [line for line in lines if "Tatu refuses sudo" in line]
    assert said, lines
    assert why in said[0]
    assert "uid=0" not in "".join(lines)


def test_who_has_the_key_of_their_login_becomes_root(bob, host):
    said = by_tatu(
        bob,
        host,
        "sudo id -un; sudo -i id -un; sudo -u ops id -un; cat /proc/self/sessionid; echo;"
        " sudo ls /run/tatu-agent/root",
    )
    assert said[:3] == ["root", "root", "ops"]
    assert said[3] in said[4:]
    told = events(host, "sudo-accepted")[-1]
    assert told["account"] == "admin"
    assert told["key_id"].startswith("bob")


def test_sudo_without_a_question_asks_where_sudoers_say_so(bob, host):
    host.write("/etc/sudoers.d/ask", "Defaults noninteractive_auth\n", 0o440)
    assert by_tatu(bob, host, "sudo -n id -un") == ["root"]
    host.run(["rm", "/etc/sudoers.d/ask"])
    said = by_tatu(bob, host, "sudo -n id; true")
    assert "uid=0" not in "".join(said)


def test_a_check_is_quick(bob, host):
    """By the time of the processor, which others at work do not prolong."""
    script = "times; for n in 1 2 3 4 5; do sudo true; times; done"
    said = by_tatu(bob, host, f"bash -c {shlex.quote(script)}")
    spent = [sum(map(seconds, line.split())) for line in said[1::2]]  # by what bash waited for
    assert min(after - before for before, after in itertools.pairwise(spent)) <= 0.3


def seconds(text):
    """Read `0m0.155s`."""
    minutes, _, rest = text.rstrip("s").partition("m")
    return int(minutes) * 60 + float(rest)


def test_without_an_agent_nobody_becomes_root(bob, host):
    bob.certify()
    with logged_in(bob, host) as run:
        refused(run("sudo id"), "no agent is forwarded")
        refused(run("SSH_AUTH_SOCK=/nowhere sudo id"), "cannot be reached")
        refused(run("SSH_AUTH_SOCK=agent sudo id"), "no plain absolute path")
    told = events(host, "sudo-refused")[-1]
    assert "no plain absolute path" in told["detail"]
    assert told["key_id"].startswith("bob")


def test_another_logins_agent_is_refused(bob, carol, host):
    """Of the same account, by name and by link; of another account, by link; served by oneself."""
    with (
        logged_in(carol, host, tatu=True) as victim,
        logged_in(bob, host, "member", tatu=True) as member,
        logged_in(bob, host, tatu=True) as run,
    ):
        [same] = victim("echo $SSH_AUTH_SOCK")
        refused(run(f"SSH_AUTH_SOCK={same} sudo id"), NOT_OURS)
        run(
            f"ln -s {same} /tmp/link; ln -s $(dirname {same}) /tmp/folder; ln -s $SSH_AUTH_SOCK /tmp/own"
        )
        refused(run("SSH_AUTH_SOCK=/tmp/link sudo id"), "names no socket")
        refused(run(f"SSH_AUTH_SOCK=/tmp/folder/{same.rpartition('/')[2]} sudo id"), "has a link")
        refused(run("SSH_AUTH_SOCK=/tmp/own sudo id"), "names no socket")
        [other] = member("echo $SSH_AUTH_SOCK")
        member(f"chmod 711 $(dirname {other}); chmod 666 {other}")
        refused(run(f"SSH_AUTH_SOCK={other} sudo id"), "somebody else")
        run(f"ln -s {other} /tmp/other")
        refused(run("SSH_AUTH_SOCK=/tmp/other sudo id"), "names no socket")
        own = "ssh-keygen -q -t ed25519 -N '' -f /tmp/k; eval $(ssh-agent -s) >/dev/null; ssh-add -q /tmp/k;"
        refused(run(f"( {own} sudo id; ssh-agent -k >/dev/null )"), NOT_OURS)
        assert run("sudo id -un") == ["root"]
        assert "uid=0" not in "".join(member("sudo id"))


def test_an_ordinary_agent_proves_by_the_certificate_and_not_by_its_key(
    fleet, bob, host, tmp_path
):
    bob.certify()
    key = bob.state / "id_ed25519"
    with (
        ssh_agent(tmp_path, key) as agent,
        logged_in(bob, host, forwarded=agent) as run,
    ):
        assert run("sudo id -un") == ["root"]
        environment = {**os.environ, "SSH_AUTH_SOCK": str(agent)}
        forget = ["ssh-add", "-q", "-d", f"{key}-cert.pub"]
        subprocess.run(forget, env=environment, check=False, capture_output=True)
        refused(run("sudo id"), "did not sign")


@contextmanager
def hanging(path):
    """Serve an agent that answers what ssh asks it before it forwards, and nothing of a host."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        kept = []

        def serve():
            with suppress(OSError):  # the socket was shut down
                while True:
                    connection, _ = listener.accept()
                    kept.append(connection)
                    connection.recv(4096)
                    connection.sendall(b"\0\0\0\1\5")

        thread = threading.Thread(target=serve)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        for connection in kept:
            connection.close()


def test_an_agent_that_hangs_is_given_up(bob, host, tmp_path):
    bob.certify()
    with (
        hanging(tmp_path / "hangs") as path,
        ssh_agent(tmp_path) as agent,
        logged_in(bob, host, forwarded=path, agent=agent) as run,
    ):
        begun = time.monotonic()
        refused(run("sudo id"), "the agent does not answer")
        assert 1 < time.monotonic() - begun < PATIENCE


def test_what_is_no_login_by_certificate_has_no_root(host):
    done = host.run(["sudo", "id"], user="admin", check=False)
    assert done.returncode != 0
    refused((done.stdout + done.stderr).splitlines(), "no login")


def test_a_certificate_for_one_command_has_no_root(bob, host):
    bob.certify("--force-command", "sudo id")
    said = bob.run("ssh", f"admin@{host.name}", "--", "true", status=1)
    refused((said.stdout + said.stderr).splitlines(), "one command only")
    bob.certify("--source-address", "10.99.0.0/16")
    assert by_tatu(bob, host, "sudo id -un") == ["root"]
    bob.certify()


def test_others_are_asked_as_ever(host):
    command = ["sudo", "-S", "-k", "-p", "", "id", "-un"]
    right = host.run(command, user="ops", input="correct horse\n", check=False)
    assert right.stdout == "root\n", right.stderr
    wrong = host.run(command, user="ops", input="wrong\nwrong\nwrong\n", check=False)
    assert wrong.returncode != 0
    assert "Tatu" not in right.stderr + wrong.stderr


def test_whatever_is_missing_or_damaged_nobody_becomes_root(bob, host):
    with logged_in(bob, host, tatu=True) as run:
        host.run(["tar", "-cf", "/kept.tar", "-P", *PARTS])
        for damage in DAMAGES:
            host.run(["sh", "-c", damage])
            said = run("sudo id")
            host.run(["tar", "-xf", "/kept.tar", "-P"])
            assert "uid=0" not in "".join(said), damage
            assert run("sudo id -un") == ["root"]


def test_sudo_ends_in_open_sessions_with_their_certificates_and_tatu_is_told(project, bob, host):
    serial = bob.certify()["serial"]
    with logged_in(bob, host, tatu=True) as run:
        assert run("sudo id -un") == ["root"]
        bob.run("usercert", "revoke", serial, "--reason", "test")
        host.run(["python3", "-c", REFRESH])
        refused(run("sudo id"), "the certificate of this login is revoked")

    def told():
        listed = project.admin.json("login", "list", "--serial", serial)
        return {(each["kind"], each["user_name"], each["alarm"]) for each in listed}

    host.start_loop()
    kinds = ("accepted", "sudo-accepted", "sudo-refused", "ended")
    wait_until(lambda: told() >= {(kind, bob.name, "") for kind in kinds})
    assert {alarm for _, _, alarm in told()} == {""}

    serial, roots = bob.certify()["serial"], host.root / "tmp/roots"
    with logged_in(bob, host, tatu=True) as run:
        run("(while sudo true; do echo root >>/tmp/roots; done) >/dev/null &")
        host.wait_until(roots.exists, "sudo does not work")
        revoke = ("usercert", "revoke", serial, "--reason", "test", "--wait")
        done = project.admin.run(*revoke)
        assert "refused on 1/1 hosts" in done.stdout + done.stderr
        assert host.run(["pgrep", "-u", "admin"], check=False).stdout == ""
