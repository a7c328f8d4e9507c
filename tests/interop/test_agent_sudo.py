"""sudo's check with a real ssh-agent, real signatures and real lists; this process is the monitor."""

import json
import os
import pwd
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tatu.agent import sudo
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.sessions import Session
from tatu.agent.state import State, Store
from tatu.core.certificate import CertificateType
from tatu.core.keys import PublicKey
from tests.fakes.tatu_server import DEPLOYMENT, FakeTatu, certify

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
NOT_OURS = "not the agent of this login"

ANSWERS = """\
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    connection, _ = listener.accept()
    for answer in sys.argv[2:]:
        if connection.recv(65536):
            connection.sendall(bytes.fromhex(answer))
    while connection.recv(65536):
        pass
"""
"""An agent that says just this, whatever it is asked, and then no more."""


def now():
    return datetime.now(UTC).replace(microsecond=0)


class Login:
    """A host with its state, and a login to it by a certificate that an ssh-agent holds."""

    def __init__(self, folder, tatu):
        self.folder, self.tatu = folder, tatu
        self.layout = Layout(folder, folder / "sshd_config", "sshd", "tatu", "")
        self.store = Store(self.layout.state)
        self.layout.state.mkdir(parents=True)
        self.key = self.make_key("key")
        self.certificate = self.certify(7)
        self.obey()

    def make_key(self, name):
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def certify(self, serial, **parts):
        public = PublicKey.parse(Path(f"{self.key}.pub").read_text())
        made = certify(
            self.tatu.user_key, public, ("admin",), type=CertificateType.USER, serial=serial,
            valid_before=now() + timedelta(hours=1), **parts,
        )  # fmt: skip
        Path(f"{self.key}-cert.pub").write_text(f"{made.line}\n")
        return made

    def obey(self, **changes):
        """Have the host obey what its authority says now."""
        said = self.tatu.publish(**{"sudo": (ACCOUNT,), "pam_sudo": True, **changes})
        state = State(
            url=self.tatu.url, ca_file=None, insecure_http=False, deployment=DEPLOYMENT,
            authority=self.tatu.authority, host=self.tatu.host, machine={}, certificates={},
            **self.tatu.signed(),
        )  # fmt: skip
        self.store.stage(self.tatu._krls[said.krl_version])
        self.store.save(state)

    @property
    def session(self):
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        facts = {
            "session": 12, "monitor": os.getpid(), "started": started, "account": ACCOUNT,
            "certificate": self.certificate.line, "source": "192.0.2.7",
            "at": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        }  # fmt: skip
        return Session.parse(json.dumps(facts).encode())

    def prove(self, agent, session=None):
        sudo.prove(self.layout, session or self.session, str(agent), now())

    def refuses(self, agent, why, session=None):
        with pytest.raises(AgentError, match=why):
            self.prove(agent, session)


@contextmanager
def serving(path, *command):
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    try:
        while True:
            with socket.socket(socket.AF_UNIX) as tried:
                if not tried.connect_ex(str(path)):
                    break
            assert time.monotonic() < until
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def ssh_agent(path, *keys, through=()):
    with serving(path, *through, "ssh-agent", "-D", "-a", path):
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        for key in keys:
            subprocess.run(["ssh-add", "-q", key], env=environment, check=True)
        yield path


@pytest.fixture
def login(tmp_path):
    tatu = FakeTatu(accounts={ACCOUNT: ("admin",)})
    yield Login(tmp_path, tatu)
    tatu.close()


@pytest.fixture
def agent(login, tmp_path):
    with ssh_agent(tmp_path / "agent", login.key) as path:
        yield path


def test_the_agent_of_the_login_proves_its_certificate(login, agent):
    login.prove(agent)


@pytest.mark.parametrize("kind", [("ecdsa", "-b", "521"), ("rsa", "-b", "3072")])
def test_keys_of_other_types_prove_as_well(login, tmp_path, kind):
    login.key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", *kind, "-N", "", "-f", login.key], check=True)
    login.certificate = login.certify(8)
    with ssh_agent(tmp_path / "agent", login.key) as agent:
        login.prove(agent)


def test_a_revocation_between_two_questions_counts(login, agent):
    login.prove(agent)
    login.tatu.revoked = frozenset({7})
    login.obey()
    login.refuses(agent, "is revoked")


def test_an_authority_that_is_trusted_no_more_counts(login, agent):
    login.prove(agent)
    login.obey(user_authorities=(login.tatu.host_key.public,), host_authorities=())
    login.refuses(agent, "no longer trusted")


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")]
)
def test_a_list_that_is_missing_or_empty_refuses(login, agent, damage):
    [krl] = login.layout.state.glob("krl-*")
    damage(krl)
    login.refuses(agent, "revocation list is damaged")


def test_an_empty_list_that_was_signed_refuses_too(login, agent):
    login.obey(krl=b"")
    login.refuses(agent, "revocation list is none")


def test_a_host_that_is_not_enrolled_refuses(login, agent):
    (login.layout.state / "state.json").unlink()
    login.refuses(agent, "not enrolled")


def test_an_agent_that_another_process_serves_is_not_the_logins(login, tmp_path):
    shell = ("sh", "-c", '"$0" "$@" & trap "kill $!" TERM; wait')
    with ssh_agent(tmp_path / "agent", login.key, through=shell) as agent:
        login.refuses(agent, NOT_OURS)


def test_a_login_whose_monitor_has_ended_is_over(login, agent):
    login.refuses(agent, NOT_OURS, replace(login.session, started=1))


def test_an_agent_with_the_plain_key_or_another_certificate_proves_nothing(login, tmp_path):
    with ssh_agent(tmp_path / "agent", login.key) as agent:
        certificate, login.certificate = login.certificate, login.certify(8)
        login.refuses(agent, "did not sign")
        login.certificate = certificate
        login.prove(agent)
    Path(f"{login.key}-cert.pub").unlink()
    with ssh_agent(tmp_path / "plain", login.key) as agent:
        login.refuses(agent, "did not sign")


def test_an_agent_without_keys_proves_nothing(login, tmp_path):
    with ssh_agent(tmp_path / "agent") as agent:
        login.refuses(agent, "did not sign")


def answer(body):
    return (len(body).to_bytes(4, "big") + body).hex()


@pytest.mark.parametrize(
    "body",
    [
        bytes(11) + b"ssh-ed25519" + bytes(68),
        (11).to_bytes(4, "big") + b"ssh-ed25519" + (64).to_bytes(4, "big") + bytes(64),
        b"",
    ],
    ids=["cut short", "zeros", "empty"],
)
def test_a_signature_that_is_none_refuses(login, tmp_path, body):
    lie = answer(b"\x0e" + len(body).to_bytes(4, "big") + body)
    path = tmp_path / "lies"
    with serving(path, sys.executable, "-c", ANSWERS, path, answer(b"\x06"), lie):
        login.refuses(path, "does not hold")


@pytest.mark.parametrize("said", [(), (answer(b"\x06"),), (answer(b"\x06")[:6],)])
def test_an_agent_that_hangs_is_given_up(login, tmp_path, monkeypatch, said):
    monkeypatch.setattr(sudo, "_PATIENCE", 0.5)
    path = tmp_path / "hangs"
    with serving(path, sys.executable, "-c", ANSWERS, path, *said):
        login.refuses(path, "does not answer")


def test_a_queue_that_is_full_is_given_up(login, tmp_path, monkeypatch):
    monkeypatch.setattr(sudo, "_PATIENCE", 0.5)
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        login.refuses(path, "does not answer")


def test_no_link_is_followed(login, agent, tmp_path):
    (tmp_path / "link").symlink_to(agent)
    login.refuses(tmp_path / "link", "names no socket")
    (tmp_path / "folder").symlink_to(tmp_path)
    login.refuses(tmp_path / "folder/agent", "has a link")
    for path in (
        "agent",
        f"{tmp_path}/../{tmp_path.name}/agent",
        f"{tmp_path}//agent",
        "/",
        "/x" * 60,
    ):
        login.refuses(path, "SSH_AUTH_SOCK")
    login.refuses(tmp_path / "none", "cannot be reached")
    login.refuses(tmp_path / "key", "names no socket")
    login.refuses("", "no agent is forwarded")


def test_it_is_reached_with_the_rights_of_the_account_alone(login, agent, tmp_path):
    """Who runs this as root could reach every agent."""
    login.tatu.accounts = {"nobody": ("admin",)}
    login.obey(sudo=("nobody",))
    login.refuses(agent, "Permission denied", replace(login.session, account="nobody"))
