"""The agent that is forwarded: what it signs, and all that it refuses (security.md S14)."""

import os
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.client import agentfilter, verifying
from tatu.client.agentfilter import MAX_REQUEST, AgentFilter, Conversation
from tatu.core import sudo, wire
from tatu.core.certificate import Certificate
from tatu.core.sshsig import Namespace, to_be_signed
from tatu.core.sudo import SudoChallenge

FAILURE = b"\x05"
SUCCESS = b"\x06"
LIST = b"\x0b"
SIGN = b"\x0d"


def keygen(*arguments):
    subprocess.run(["ssh-keygen", "-q", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cloud's folder, as `tatu ssh` finds it, and another key's certificate."""
    made = tmp_path_factory.mktemp("cloud")
    for name in ("ca", "id_ed25519", "other"):
        keygen("-t", "ed25519", "-N", "", "-f", made / name)
    for name in ("id_ed25519", "other"):
        keygen("-s", made / "ca", "-I", "alice_7", "-z", 7, "-n", "admin", f"{made / name}.pub")
    return made


def certificate_of(folder, name="id_ed25519"):
    return Certificate.parse((folder / f"{name}-cert.pub").read_text().rpartition(" ")[0])


def a_filter(folder, **parts):
    certificate = certificate_of(folder)
    values = {
        "host": "db-1",
        "certificate": certificate,
        "sign": agentfilter.signer(folder, certificate),
        "confirm": agentfilter.without_question,
    }
    return AgentFilter(**{**values, **parts})


def a_challenge(folder, **parts):
    facts = {
        "account": "admin",
        "certificate": sudo.fingerprint(certificate_of(folder)),
        "host": "db-1",
        "nonce": "0" * 64,
        "session": "7",
        "time": "2026-01-01T12:00:00Z",
    }
    return SudoChallenge(**{**facts, **parts})


def announced(message):
    return b"\x1b" + wire.string(sudo.EXTENSION) + wire.string(message)


def request(blob, data):
    return SIGN + wire.string(blob) + wire.string(data) + wire.uint32(0)


def asked(filtering, message, blob=None, namespace=Namespace.SUDO, hashed="sha512"):
    """Announce a challenge and have it signed; return the two answers."""
    conversation = Conversation(filtering)
    blob = filtering.certificate.blob if blob is None else blob
    data = to_be_signed(namespace, message, hashed)
    return conversation.answer(announced(message)), conversation.answer(request(blob, data))


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def test_a_challenge_of_this_host_for_this_certificate_is_signed(folder):
    message = a_challenge(folder).message
    first, second = asked(a_filter(folder), message)
    assert first == SUCCESS
    assert second[:1] == b"\x0e"
    signature = wire.Reader(second[1:]).string()
    key = certificate_of(folder).contents.subject_key
    verifying.verify(key, signature, to_be_signed(Namespace.SUDO, message))


def test_a_challenge_of_another_host_is_refused(folder):
    message = a_challenge(folder, host="web-1").message
    assert asked(a_filter(folder), message) == (FAILURE, FAILURE)


def test_a_challenge_for_another_certificate_is_refused(folder):
    other = sudo.fingerprint(certificate_of(folder, "other"))
    message = a_challenge(folder, certificate=other).message
    assert asked(a_filter(folder), message) == (FAILURE, FAILURE)


@pytest.mark.parametrize("namespace", [name for name in Namespace if name != Namespace.SUDO])
def test_no_other_purpose_is_served(folder, namespace):
    message = a_challenge(folder).message
    assert asked(a_filter(folder), message, namespace=namespace)[1] == FAILURE


def test_no_other_hash_is_signed(folder):
    assert asked(a_filter(folder), a_challenge(folder).message, hashed="sha256")[1] == FAILURE


def test_the_plain_key_and_other_certificates_sign_nothing(folder):
    message, filtering = a_challenge(folder).message, a_filter(folder)
    plain = certificate_of(folder).contents.subject_key.blob
    other = certificate_of(folder, "other").blob
    assert asked(filtering, message, blob=plain)[1] == FAILURE
    assert asked(filtering, message, blob=other)[1] == FAILURE


def test_what_was_not_announced_is_not_signed(folder):
    filtering, message = a_filter(folder), a_challenge(folder).message
    asking = request(filtering.certificate.blob, to_be_signed(Namespace.SUDO, message))
    assert Conversation(filtering).answer(asking) == FAILURE


def test_another_challenge_than_the_announced_one_is_not_signed(folder):
    filtering, conversation = a_filter(folder), Conversation(a_filter(folder))
    hidden = a_challenge(folder, host="web-1").message
    assert conversation.answer(announced(a_challenge(folder).message)) == SUCCESS
    asking = request(filtering.certificate.blob, to_be_signed(Namespace.SUDO, hidden))
    assert conversation.answer(asking) == FAILURE


def test_an_announcement_counts_once_and_for_its_connection(folder):
    filtering, message = a_filter(folder), a_challenge(folder).message
    asking = request(filtering.certificate.blob, to_be_signed(Namespace.SUDO, message))
    conversation = Conversation(filtering)
    conversation.answer(announced(message))
    assert Conversation(filtering).answer(asking) == FAILURE
    assert conversation.answer(asking)[:1] == b"\x0e"
    assert conversation.answer(asking) == FAILURE


def test_a_refused_announcement_takes_back_the_one_before(folder):
    filtering, message = a_filter(folder), a_challenge(folder).message
    conversation = Conversation(filtering)
    conversation.answer(announced(message))
    conversation.answer(announced(b"{}"))
    asking = request(filtering.certificate.blob, to_be_signed(Namespace.SUDO, message))
    assert conversation.answer(asking) == FAILURE


def test_the_bytes_of_a_login_are_not_signed(folder):
    """What sshd has a key sign at a login (RFC 4252, section 7)."""
    filtering = a_filter(folder)
    blob = filtering.certificate.blob
    data = wire.string(b"s" * 32) + b"\x32" + wire.string("admin") + wire.string("ssh-connection")
    conversation = Conversation(filtering)
    conversation.answer(announced(a_challenge(folder).message))
    assert conversation.answer(request(blob, data + wire.string("publickey"))) == FAILURE


def test_it_shows_the_certificate_alone(folder):
    filtering = a_filter(folder)
    reader = wire.Reader(Conversation(filtering).answer(LIST))
    assert (reader.uint8(), reader.uint32()) == (12, 1)
    assert filtering.certificate.blob == reader.string()
    reader.string()
    reader.end()


@pytest.mark.parametrize("kind", [k for k in range(256) if k != LIST[0]])
def test_every_other_message_is_refused(folder, kind):
    filtering = a_filter(folder)
    for rest in (b"", wire.string(filtering.certificate.blob), wire.string("query")):
        assert Conversation(filtering).answer(bytes([kind]) + rest) == FAILURE


@given(st.data())
def test_no_changed_byte_of_a_request_is_signed(folder, data):
    """Only the flags, which choose a hash for RSA keys, may be anything."""
    signed = []
    filtering = a_filter(folder, sign=lambda message: signed.append(message) or "")
    message = a_challenge(folder).message
    right = request(filtering.certificate.blob, to_be_signed(Namespace.SUDO, message))
    at = data.draw(st.integers(0, len(right) - 5))
    changed = bytearray(right)
    changed[at] ^= data.draw(st.integers(1, 255))
    for hostile in (bytes(changed), right[:at], right + b"\0"):
        conversation = Conversation(filtering)
        assert conversation.answer(announced(message)) == SUCCESS
        conversation.answer(hostile)
    assert signed == []


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_whatever_is_sent_is_answered(folder, requests):
    conversation = Conversation(a_filter(folder, sign=lambda _: pytest.fail("it signed")))
    for hostile in requests:
        assert conversation.answer(hostile)[:1] in (FAILURE, b"\x0c")


def test_without_a_confirmation_nothing_is_signed(folder):
    asked_for = []
    filtering = a_filter(folder, confirm=asked_for.append)
    message = a_challenge(folder).message
    assert asked(filtering, message) == (SUCCESS, FAILURE)
    assert [a_challenge(folder)] == asked_for


@pytest.mark.parametrize(("status", "confirmed"), [(0, True), (1, False)])
def test_the_confirmation_asks_for_account_and_host(
    folder, tmp_path, monkeypatch, status, confirmed
):
    program = tmp_path / "askpass"
    program.write_text(
        f'#!/bin/sh\necho "$SSH_ASKPASS_PROMPT $1" > {tmp_path}/said\nexit {status}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(program))
    assert agentfilter.by_askpass(a_challenge(folder)) == confirmed
    assert (tmp_path / "said").read_text() == "confirm Allow sudo for admin on db-1?\n"


def test_a_confirmation_that_nobody_gives_in_time_is_none(folder, tmp_path, monkeypatch):
    program = tmp_path / "askpass"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(program))
    monkeypatch.setattr(agentfilter, "_CONFIRM_SECONDS", 0.1)
    assert not agentfilter.by_askpass(a_challenge(folder))


class Served:
    """A filter behind a real socket."""

    def __init__(self, path, filtering):
        self.path, self.over = path, threading.Event()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.thread = threading.Thread(
            target=agentfilter.serve, args=(listener, filtering, self.over.is_set)
        )
        self.listener = listener
        self.thread.start()

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(self.path))
        return connection

    def end(self):
        self.over.set()
        self.thread.join(30)
        self.listener.close()


@pytest.fixture
def served(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(agentfilter, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(agentfilter, "_CONNECTION_SECONDS", 2)
    running = Served(tmp_path / "agent", a_filter(folder))
    yield running
    running.end()


def with_agent(served, *command, **options):
    environment = {**os.environ, "SSH_AUTH_SOCK": str(served.path), "LC_ALL": "C"}
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False,
        timeout=30, **options,
    )  # fmt: skip


def test_ssh_add_lists_the_certificate_and_changes_nothing(folder, served):
    certificate = certificate_of(folder)
    assert with_agent(served, "ssh-add", "-L").stdout.startswith(certificate.line)
    for change in (["-D"], ["-d", folder / "id_ed25519.pub"], [folder / "other"], ["-x"]):
        assert with_agent(served, "ssh-add", *change, input="x\nx\n").returncode != 0
    assert with_agent(served, "ssh-add", "-L").stdout.startswith(certificate.line)


@pytest.mark.parametrize("namespace", ["sudo@tatu", "git", "login@tatu"])
def test_ssh_keygen_gets_no_signature(folder, served, namespace):
    signing = ["ssh-keygen", "-Y", "sign", "-U", "-f", folder / "id_ed25519-cert.pub"]
    message = a_challenge(folder).message.decode()
    done = with_agent(served, *signing, "-n", namespace, input=message)
    assert done.returncode != 0
    assert "refused" in done.stderr


def test_connections_are_few_and_end(served):
    held = [served.connect() for _ in range(agentfilter._MAX_CONNECTIONS)]
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with served.connect() as beyond:
            try:
                beyond.sendall(wire.string(LIST))
                if not beyond.recv(1):
                    break
            except OSError:
                break
    for connection in held:
        assert connection.recv(1) == b""  # ended by the filter, since nothing was asked
        connection.close()
    with served.connect() as again:
        again.sendall(wire.string(LIST))
        assert again.recv(4)


@pytest.mark.parametrize("length", [0, MAX_REQUEST + 1, 2**32 - 1])
def test_a_message_of_no_or_too_much_length_ends_the_connection(served, length):
    with served.connect() as connection:
        connection.sendall(wire.uint32(length) + b"x")
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            return


def test_a_connection_asks_a_few_times(served):
    with served.connect() as connection:
        connection.sendall(wire.string(b"\0") * agentfilter._MAX_REQUESTS * 2)
        answers = b""
        try:
            while part := connection.recv(4096):
                answers += part
        except ConnectionResetError:
            pass
    assert answers == wire.string(FAILURE) * agentfilter._MAX_REQUESTS


def test_the_fingerprint_is_of_the_whole_certificate(folder):
    certificate = certificate_of(folder)
    other = replace(certificate, contents=replace(certificate.contents, serial=8))
    assert sudo.fingerprint(certificate) != sudo.fingerprint(other)
