"""What we ask of ssh-agent (draft-ietf-sshm-ssh-agent, and OpenSSH's PROTOCOL.agent)."""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Self

from tatu.core import wire
from tatu.core.errors import Conflict, Malformed, NotFound, Unavailable
from tatu.core.keys import PublicKey

MAX_MESSAGE = 256 * 2**10
"""Bytes that ssh-agent itself takes or gives in one message."""

_ANSWER_SECONDS = 5
_TOUCH_SECONDS = 60  # somebody has to touch a key, or to confirm
_RSA_SHA2_512 = 4
_LIFETIME = 1


class _Message(IntEnum):
    """The messages that we send and understand."""

    SUCCESS = 6
    REQUEST_IDENTITIES = 11
    IDENTITIES_ANSWER = 12
    SIGN_REQUEST = 13
    SIGN_RESPONSE = 14
    REMOVE_IDENTITY = 18
    ADD_ID_CONSTRAINED = 25


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An ssh-agent behind a socket; each question opens a connection of its own.

    All methods raise `Unavailable` when no agent answers, `Malformed` when one answers nonsense.
    """

    path: str

    @classmethod
    def of_environment(cls) -> Self:
        """Return the agent that $SSH_AUTH_SOCK names; raises `NotFound` when it names none."""
        path = os.environ.get("SSH_AUTH_SOCK")
        if not path:
            raise NotFound("no ssh-agent: SSH_AUTH_SOCK is not set")
        return cls(path=path)

    def identities(self) -> tuple[tuple[PublicKey, str], ...]:
        """Return the plain keys in the agent with their comments; certificates are left out."""
        reader = self._ask(_Message.REQUEST_IDENTITIES, b"", _Message.IDENTITIES_ANSWER)
        found = []
        for _ in range(reader.uint32()):
            blob, comment = reader.string(), reader.string()
            try:
                found.append((PublicKey.from_blob(blob), comment.decode(errors="replace")))
            except Malformed:
                continue  # a certificate, or a kind of key that Tatu does not take
        return tuple(found)

    def holds(self, key: PublicKey) -> bool:
        """Say whether the agent has a key."""
        return any(key == held for held, _ in self.identities())

    def sign(self, key: PublicKey, data: bytes) -> bytes:
        """Return the SSH signature blob of a key in the agent; raises `Conflict` if it refuses.

        A hardware key asks for its touch in the meantime.
        """
        flags = _RSA_SHA2_512 if key.algorithm == "ssh-rsa" else 0
        body = wire.string(key.blob) + wire.string(data) + wire.uint32(flags)
        answer = self._ask(_Message.SIGN_REQUEST, body, _Message.SIGN_RESPONSE, _TOUCH_SECONDS)
        return answer.string()

    def add_ed25519(self, seed: bytes, public: bytes, comment: str, lifetime: timedelta) -> None:
        """Give the agent an Ed25519 key to keep for this long; raises `Conflict` if it refuses."""
        body = b"".join(
            (
                wire.string("ssh-ed25519"),
                wire.string(public),
                wire.string(seed + public),
                wire.string(comment),
                wire.uint8(_LIFETIME),
                wire.uint32(max(1, int(lifetime.total_seconds()))),
            )
        )
        self._ask(_Message.ADD_ID_CONSTRAINED, body, _Message.SUCCESS)

    def remove(self, key: PublicKey) -> None:
        """Take a key out of the agent; raises `Conflict` when it is not there."""
        self._ask(_Message.REMOVE_IDENTITY, wire.string(key.blob), _Message.SUCCESS)

    def _ask(
        self, kind: _Message, body: bytes, expected: _Message, seconds: int = _ANSWER_SECONDS
    ) -> wire.Reader:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(seconds)
                connection.connect(self.path)
                connection.sendall(wire.string(wire.uint8(kind) + body))
                length = int.from_bytes(_exactly(connection, 4), "big")
                if not 0 < length <= MAX_MESSAGE:
                    raise Unavailable("what answers at SSH_AUTH_SOCK is no ssh-agent")
                answer = _exactly(connection, length)
        except OSError as error:
            raise Unavailable(f"ssh-agent does not answer: {error}") from error
        reader = wire.Reader(answer, "the ssh-agent's answer")
        if reader.uint8() != expected:
            raise Conflict("ssh-agent refused: it has no such key, is locked, or was told not to")
        return reader


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise Unavailable("ssh-agent ended the connection")
        data += part
    return bytes(data)
