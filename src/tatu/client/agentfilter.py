"""An ssh-agent for one login: it proves to that host's sudo whose session it is (S14).

The host may be in an attacker's hands. Through a forwarded agent of the usual kind it would sign
in elsewhere as us; this one shows our certificate, signs a sudo challenge of this host, and
refuses all else.
"""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from tatu.client import signing
from tatu.core import sudo, wire
from tatu.core.certificate import Certificate
from tatu.core.errors import Denied, TatuError
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed
from tatu.core.sudo import SudoChallenge

MAX_REQUEST = 32 * 2**10
"""Bytes; the largest RSA certificate with a challenge takes less than a quarter."""

_MAX_REQUESTS = 16
_MAX_CONNECTIONS = 8
_CONNECTION_SECONDS = 30.0
_CONFIRM_SECONDS = 8  # the host waits no longer
_LOOK_SECONDS = 1.0


class _Message(IntEnum):
    """The messages of PROTOCOL.agent that mean something here."""

    FAILURE = 5
    SUCCESS = 6
    REQUEST_IDENTITIES = 11
    IDENTITIES_ANSWER = 12
    SIGN_REQUEST = 13
    SIGN_RESPONSE = 14
    EXTENSION = 27


_FAILURE = wire.uint8(_Message.FAILURE)

Sign = Callable[[bytes], str]
"""Signs a challenge's message in namespace `sudo@tatu`, armored; raises `TatuError`."""

Confirm = Callable[[SudoChallenge], bool]


@dataclass(frozen=True, kw_only=True)
class AgentFilter:
    """What may be asked, for the host with this id, by whoever speaks there for this session."""

    host: str
    certificate: Certificate
    sign: Sign
    confirm: Confirm
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, message: bytes) -> SudoChallenge:
        """Return the challenge; raises `TatuError` when it is for another host or certificate."""
        challenge = SudoChallenge.parse(message)
        if challenge.host != self.host:
            raise Denied("the challenge is another host's")
        if challenge.certificate != sudo.fingerprint(self.certificate):
            raise Denied("the challenge is for another certificate")
        return challenge

    def signature(self, challenge: SudoChallenge) -> bytes:
        """Return the SSH signature blob over a challenge; raises `TatuError` when told not to.

        One at a time: a host that asks a hundred times opens no hundred windows.
        """
        with self._turn:
            if not self.confirm(challenge):
                raise Denied("sudo was not confirmed")
            return SshSignature.parse(self.sign(challenge.message)).signature


class Conversation:
    """One connection: what was announced on it counts for it alone, and once."""

    def __init__(self, filtering: AgentFilter) -> None:
        self._filter = filtering
        self._announced: SudoChallenge | None = None

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a message: FAILURE, for all that is not asked rightly."""
        try:
            return self._answer(wire.Reader(request, "the request"))
        except (TatuError, OSError, ValueError):
            return _FAILURE  # to a host that may be hostile, no reason

    def _answer(self, reader: wire.Reader) -> bytes:
        certificate = self._filter.certificate
        match reader.uint8():
            case _Message.REQUEST_IDENTITIES:
                reader.end()
                listed = wire.string(certificate.blob) + wire.string("tatu: for sudo alone")
                return wire.uint8(_Message.IDENTITIES_ANSWER) + wire.uint32(1) + listed
            case _Message.EXTENSION if reader.string() == sudo.EXTENSION.encode():
                self._announced = None
                message = reader.string()
                reader.end()
                self._announced = self._filter.accept(message)
                return wire.uint8(_Message.SUCCESS)
            case _Message.SIGN_REQUEST:
                return self._sign(reader)
        return _FAILURE

    def _sign(self, reader: wire.Reader) -> bytes:
        key, data = reader.string(), reader.string()
        reader.uint32()  # the flags: of an RSA key's hashes there is one that we sign with
        reader.end()
        challenge, self._announced = self._announced, None
        if challenge is None or key != self._filter.certificate.blob:
            return _FAILURE
        if data != to_be_signed(Namespace.SUDO, challenge.message):
            return _FAILURE
        signature = self._filter.signature(challenge)
        return wire.uint8(_Message.SIGN_RESPONSE) + wire.string(signature)


def serve(listener: socket.socket, filtering: AgentFilter, ended: Callable[[], bool]) -> None:
    """Answer at a socket until the login has ended, a few connections at once."""
    slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
    listener.settimeout(_LOOK_SECONDS)
    while not ended():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if not slots.acquire(blocking=False):
            connection.close()
            continue
        threading.Thread(
            target=_converse, args=(connection, filtering, slots), daemon=True
        ).start()


def _converse(
    connection: socket.socket, filtering: AgentFilter, slots: threading.BoundedSemaphore
) -> None:
    """Answer a few requests, whole ones, until there are no more or their time is over."""
    conversation, until = Conversation(filtering), time.monotonic() + _CONNECTION_SECONDS
    try:
        with connection:
            for _ in range(_MAX_REQUESTS):
                length = int.from_bytes(_exactly(connection, 4, until), "big")
                if not 0 < length <= MAX_REQUEST:
                    return
                answer = conversation.answer(_exactly(connection, length, until))
                connection.settimeout(max(0.001, until - time.monotonic()))
                connection.sendall(wire.string(answer))
    except OSError:
        return  # it ended in the middle, or dripped
    finally:
        slots.release()


def _exactly(connection: socket.socket, length: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < length:
        connection.settimeout(max(0.001, until - time.monotonic()))
        part = connection.recv(length - len(data))
        if not part:
            raise ConnectionError("the connection ended")
        data += part
    return bytes(data)


def signer(folder: Path, certificate: Certificate) -> Sign:
    """Return what signs with the certificate's key, in ssh-agent or in the cloud's folder."""

    def sign(message: bytes) -> str:
        key = certificate.contents.subject_key
        return signing.of_public_key(key, folder / "id_ed25519").sign(Namespace.SUDO, message)

    return sign


def without_question(_: SudoChallenge) -> bool:
    """Confirm each challenge: the host is the one, and the session ours."""
    return True


def by_askpass(challenge: SudoChallenge) -> bool:
    """Ask by $SSH_ASKPASS, as `ssh-add -c` does; no answer in time is none.

    Not at the terminal: ssh reads from it, and what is typed there belongs to the host.
    """
    question = f"Allow sudo for {challenge.account} on {challenge.host}?"
    try:
        return not subprocess.run(
            [os.environ["SSH_ASKPASS"], question],
            env={**os.environ, "SSH_ASKPASS_PROMPT": "confirm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_CONFIRM_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return False
