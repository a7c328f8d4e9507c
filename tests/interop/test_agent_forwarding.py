"""What a real ssh forwards to a real sshd when `tatu ssh` becomes it (security.md S14)."""

import getpass
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.server import wait_until

pytestmark = pytest.mark.slow

ACCOUNT = getpass.getuser()

CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
HostCertificate {folder}/host-cert.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
AuthorizedKeysFile none
TrustedUserCAKeys {folder}/ca.pub
AuthorizedPrincipalsFile {folder}/principals
"""

LOGIN = """\
import sys
from tatu.client.ready import Login, become_ssh
folder, sudo_host, confirm, *command = sys.argv[1:]
become_ssh(Login(command, folder, sudo_host or None), confirm=confirm == "yes")
"""

PROOF = """\
import os, socket, time
from tatu.agent.forwarded import Connection
from tatu.agent.keys import UserCertificate
from tatu.agent.sessions import Session
from tatu.agent import signatures, sudo
from datetime import datetime, timezone
line = open({folder!r} + "/id_ed25519-cert.pub").read().rpartition(" ")[0]
now = datetime.now(timezone.utc)
session = Session(1, 1, 1, "admin", UserCertificate.parse(line), "", now)
message = sudo.challenge({host!r}, session, "0" * 64, now)
with socket.socket(socket.AF_UNIX) as agent:
    agent.connect(os.environ["SSH_AUTH_SOCK"])
    signature = Connection(agent, time.monotonic() + 30).sign(session.certificate, message)
signatures.verify(message, signature, [session.certificate.subject_key], "sudo@tatu")
print("proven")
"""


def keygen(*arguments):
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


class Host:
    """sshd on loopback, and the folder of somebody who may log in there."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("ca", "host", "id_ed25519", "other"):
            keygen("-t", "ed25519", "-N", "", "-f", folder / name)
        keygen("-s", folder / "ca", "-h", "-I", "h", "-n", "db-1", folder / "host.pub")
        self.certify("permit-agent-forwarding", "permit-pty")
        (folder / "principals").write_text("admin\n")
        (folder / "known_hosts").write_text(f"@cert-authority * {(folder / 'ca.pub').read_text()}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=folder))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = folder / "sshd.log"
        log.touch()
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", folder / "sshd_config", "-E", log]
        )
        until = time.monotonic() + 30
        while "Server listening" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)

    def certify(self, *extensions):
        options = [word for name in ("clear", *extensions) for word in ("-O", name)]
        keygen(
            "-s", self.folder / "ca", "-I", "alice_7", "-n", "admin", "-V", "+1h", *options,
            self.folder / "id_ed25519.pub",
        )  # fmt: skip

    def login(self, remote, *arguments, sudo_host="db-1", confirm="no", **environment):
        """Log in as `tatu ssh` does, and return how it ended."""
        options = {
            "BatchMode": "yes",
            "CertificateFile": self.folder / "id_ed25519-cert.pub",
            "IdentityFile": self.folder / "id_ed25519",
            "IdentitiesOnly": "yes",
            "ForwardAgent": "no",
            "HostKeyAlias": "db-1",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "Port": self.port,
        }
        command = ["ssh", "-F", "none", *(f"-o{name}={value}" for name, value in options.items())]
        command += [f"{ACCOUNT}@127.0.0.1", *arguments, remote]
        return subprocess.run(
            [sys.executable, "-c", LOGIN, self.folder, sudo_host or "", confirm, *command],
            env={
                "PATH": os.environ["PATH"],
                "XDG_RUNTIME_DIR": f"{self.folder}/run",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def prove(self, **options):
        """Have the host ask for a proof, as sudo's check does there."""
        script = self.folder / "proof.py"
        asked = options.pop("asked", "db-1")
        script.write_text(PROOF.format(folder=str(self.folder), host=asked))
        return self.login(f"{sys.executable} {script}", **options)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("forwarding"))
    yield host
    host.process.terminate()
    host.process.wait(30)


@pytest.fixture
def host(running):
    running.certify("permit-agent-forwarding", "permit-pty")
    (running.folder / "run").mkdir(mode=0o700, exist_ok=True)
    return running


@pytest.fixture
def own_agent(tmp_path, host):
    """The user's own ssh-agent, with a key of theirs."""
    path = str(tmp_path / "own")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "SSH_AUTH_SOCK": path}
    until = time.monotonic() + 30
    asked = {"env": environment, "capture_output": True}
    while subprocess.run(["ssh-add", "-l"], check=False, **asked).returncode == 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    subprocess.run(
        ["ssh-add", "-q", host.folder / "other"], env=environment, check=True, capture_output=True
    )
    yield path
    process.terminate()
    process.wait()


def test_the_host_gets_a_proof_with_no_agent_of_the_users(host):
    done = host.prove()
    assert done.stdout == "proven\n", done.stderr


def test_the_host_gets_a_proof_beside_the_users_agent(host, own_agent):
    done = host.prove(SSH_AUTH_SOCK=own_agent)
    assert done.stdout == "proven\n", done.stderr


def test_the_host_gets_a_proof_although_the_users_agent_is_gone(host, tmp_path):
    assert host.prove(SSH_AUTH_SOCK=str(tmp_path / "none")).stdout == "proven\n"


def test_a_key_in_the_users_agent_gives_the_proof(host, own_agent):
    """With `agent = true` there is no file."""
    key = host.folder / "id_ed25519"
    environment = {**os.environ, "SSH_AUTH_SOCK": own_agent}
    subprocess.run(["ssh-add", "-q", key], env=environment, check=True, capture_output=True)
    hidden = key.rename(host.folder / "hidden")
    try:
        done = host.prove(SSH_AUTH_SOCK=own_agent)
    finally:
        hidden.rename(key)
    assert done.stdout == "proven\n", done.stderr


def test_another_hosts_challenge_gets_no_proof(host):
    done = host.prove(asked="web-1")
    assert "the agent did not sign" in done.stderr


@pytest.mark.parametrize("sudo_host", ["db-1", None])
def test_the_users_own_agent_is_never_forwarded(host, own_agent, sudo_host):
    """Not even when they say so."""
    wishes = ("-A", "-oForwardAgent=yes")
    done = host.login("ssh-add -L", *wishes, sudo_host=sudo_host, SSH_AUTH_SOCK=own_agent)
    assert (host.folder / "other.pub").read_text().split()[1] not in done.stdout
    certificate = (host.folder / "id_ed25519-cert.pub").read_text().split()[1]
    assert (certificate in done.stdout) == (sudo_host is not None), done.stderr


def test_the_host_cannot_log_in_elsewhere_by_it(host):
    options = f"-F none -oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -p {host.port}"
    done = host.login(f"ssh {options} {ACCOUNT}@127.0.0.1 echo in; echo $?")
    assert done.stdout == "255\n", done.stderr


def test_a_certificate_without_forwarding_gets_none(host):
    host.certify("permit-pty")
    assert host.login("echo agent=$SSH_AUTH_SOCK").stdout == "agent=\n"


def test_a_proof_that_is_not_confirmed_is_none(host, tmp_path):
    program = tmp_path / "askpass"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/said\nexit 1\n')
    program.chmod(0o755)
    done = host.prove(confirm="yes", SSH_ASKPASS=str(program))
    assert "the agent did not sign" in done.stderr
    assert (tmp_path / "said").read_text() == "Allow sudo for admin on db-1?\n"


def test_nothing_of_it_is_left(host):
    """The socket is ours alone while it is there, and goes with the login."""
    run = host.folder / "run"
    wait_until(lambda: not list(run.iterdir()))  # of the logins before this one
    done = host.login(f"stat -c '%a %F' {run}/tatu-* {run}/tatu-*/agent")
    assert done.stdout == "700 directory\n600 socket\n"
    wait_until(lambda: not list(run.iterdir()))


def test_it_ends_as_ssh_does_and_keeps_nobody_waiting(host):
    begun = time.monotonic()
    assert host.login("exit 7").returncode == 7
    assert time.monotonic() - begun < 30  # its output is not held open by what stays behind
