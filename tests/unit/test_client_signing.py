"""Signing with key files and with ssh-agent; ssh-keygen is the judge."""

import os
import pty
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tatu.client import signing, verifying
from tatu.client.certify import NewKey
from tatu.client.signing import FileKey
from tatu.client.sshagent import Agent
from tatu.core import wire
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated, Unavailable
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature

KINDS = [
    ("ed25519",), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "384"), ("ecdsa", "-b", "521"),
    ("rsa", "-b", "2048"),
]  # fmt: skip


def keygen(path, *kind, passphrase=""):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", *(kind or KINDS[0]), "-N", passphrase, "-f", path], check=True
    )
    return path


def judge(folder, key, armored, message):
    """Have ssh-keygen verify a signature, and ourselves too."""
    (folder / "signers").write_text(f"me {key.line}\n")
    (folder / "sig").write_text(armored)
    subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", folder / "signers", "-I", "me",
         "-n", Namespace.LOGIN, "-s", folder / "sig"],
        input=message, check=True, capture_output=True,
    )  # fmt: skip
    signature = SshSignature.parse(armored)
    verifying.verify(key, signature.signature, signature.signed_bytes(Namespace.LOGIN, message))
    with pytest.raises(Denied):
        verifying.verify(key, signature.signature, signature.signed_bytes(Namespace.LOGIN, b"x"))
    with pytest.raises(Denied):
        verifying.verify(key, signature.signature[:-1], b"")


@pytest.fixture
def agent(tmp_path, monkeypatch):
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 30
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    while subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode == 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    yield Agent(path=str(path))
    process.terminate()
    process.wait()


@pytest.fixture
def _no_agent(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("_no_agent")
def test_a_key_file_signs_as_ssh_keygen_expects(tmp_path, kind):
    key = signing.find(str(keygen(tmp_path / "k", *kind)))
    judge(tmp_path, key.public_key, key.sign(Namespace.LOGIN, b"hello"), b"hello")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_in_the_agent_signs_as_ssh_keygen_expects(tmp_path, agent, kind):
    path = keygen(tmp_path / "k", *kind)
    subprocess.run(["ssh-add", "-q", path], check=True)
    path.unlink()
    key = signing.find(f"{path}.pub")
    judge(tmp_path, key.public_key, key.sign(Namespace.LOGIN, b"hello"), b"hello")
    assert signing.find(f"agent:{key.public_key.fingerprint}").public_key == key.public_key


def test_a_new_key_is_lent_to_the_agent_and_taken_back(tmp_path, agent):
    key = NewKey.generate()
    key.add_to(agent, "tatu:blue", timedelta(seconds=2.5))
    assert agent.identities() == ((key.public_key, "tatu:blue"),)
    (tmp_path / "saved").write_bytes(key.openssh())
    (tmp_path / "saved").chmod(0o600)
    assert FileKey(path=tmp_path / "saved").public_key == key.public_key
    agent.remove(key.public_key)
    assert agent.identities() == ()
    with pytest.raises(Conflict):
        agent.remove(key.public_key)
    with pytest.raises(Conflict):
        agent.sign(key.public_key, b"")


@pytest.mark.usefixtures("_no_agent")
def test_the_public_half_of_a_locked_file_is_known_without_its_passphrase(tmp_path):
    path = keygen(tmp_path / "k", passphrase="secret")
    (tmp_path / "k.pub").rename(tmp_path / "kept")
    expected = PublicKey.parse((tmp_path / "kept").read_text())
    found = signing.find(str(path))
    assert found.public_key == expected
    with pytest.raises(Unauthenticated, match="needs its passphrase"):
        found.sign(Namespace.LOGIN, b"")


@pytest.mark.usefixtures("_no_agent")
def test_a_passphrase_is_asked_for_at_a_terminal(tmp_path):
    path = keygen(tmp_path / "k", passphrase="secret")
    program = (
        "import pathlib; from tatu.client.signing import FileKey; from tatu.core.sshsig import"
        f" Namespace; FileKey(path=pathlib.Path({str(path)!r})).sign(Namespace.LOGIN, b'x')"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    shown = os.read(terminal, 1000)
    os.write(terminal, b"secret\n")
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    assert b"passphrase" in shown


@pytest.mark.usefixtures("_no_agent")
def test_a_file_that_others_can_read_is_not_used(tmp_path):
    path = keygen(tmp_path / "k")
    path.chmod(0o644)
    with pytest.raises(Conflict, match="chmod 600"):
        FileKey(path=path).sign(Namespace.LOGIN, b"")


@pytest.mark.usefixtures("_no_agent")
def test_a_private_key_of_another_pair_is_not_used(tmp_path):
    one, other = keygen(tmp_path / "one"), keygen(tmp_path / "other")
    with pytest.raises(Conflict, match="is not the private half"):
        signing.of_public_key(FileKey(path=one).public_key, other)
    with pytest.raises(NotFound, match="neither"):
        signing.of_public_key(FileKey(path=one).public_key, tmp_path / "absent")


@pytest.mark.parametrize(
    "text", ["", "x", "-----BEGIN OPENSSH PRIVATE KEY-----\n!\n-----END OPENSSH PRIVATE KEY-----"]
)
def test_what_is_no_key_file_is_named(tmp_path, text):
    (tmp_path / "k").write_text(text)
    with pytest.raises(Malformed, match="k"):
        FileKey(path=tmp_path / "k")


def test_no_agent_is_said_plainly(monkeypatch, tmp_path):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(NotFound, match="SSH_AUTH_SOCK"):
        Agent.of_environment()
    with pytest.raises(Unavailable, match="does not answer"):
        Agent(path=str(tmp_path / "absent")).identities()


def answering(path, answer):
    """Answer one question at a socket with these bytes."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)

    def serve():
        with server, server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unavailable),
        (wire.string(b""), Unavailable),
        (b"\xff\xff\xff\xff", Unavailable),
        (wire.string(b"\x05"), Conflict),
        (wire.string(b"\x0c\0\0"), Malformed),
        (wire.string(b"\x0c\0\0\0\x02" + wire.string(b"x") + wire.string(b"")), Malformed),
    ],
)
def test_an_agent_that_answers_nonsense_is_not_believed(tmp_path, answer, error):
    thread = answering(tmp_path / "agent", answer)
    with pytest.raises(error):
        Agent(path=str(tmp_path / "agent")).identities()
    thread.join()


def test_keys_that_tatu_does_not_take_are_passed_over(tmp_path):
    key = wire.string(wire.string("ssh-dss") + wire.string(b"")) + wire.string(b"old")
    thread = answering(tmp_path / "agent", wire.string(b"\x0c" + wire.uint32(1) + key))
    assert Agent(path=str(tmp_path / "agent")).identities() == ()
    thread.join()


@pytest.mark.usefixtures("_no_agent")
def test_the_default_key_is_sshs_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    with pytest.raises(NotFound, match="--key"):
        signing.default()
    (tmp_path / ".ssh/id_rsa").write_text("")
    (tmp_path / ".ssh/id_ed25519").write_text("")
    assert signing.default() == str(tmp_path / ".ssh/id_ed25519")


def test_a_key_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert signing.reference("k") == f"{tmp_path}/k"
    assert signing.reference("~/k") == f"{tmp_path}/home/k"
    assert signing.reference("agent:SHA256:x") == "agent:SHA256:x"


def test_the_one_key_in_the_agent_is_the_default_without_files(tmp_path, monkeypatch, agent):
    monkeypatch.setenv("HOME", str(tmp_path))
    key = NewKey(private=Ed25519PrivateKey.generate())
    key.add_to(agent, "", timedelta(minutes=1))
    assert signing.default() == f"agent:{key.public_key.fingerprint}"
