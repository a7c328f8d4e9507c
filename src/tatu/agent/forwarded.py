"""The agent that sshd forwards for one session, which is asked for a proof of who is there.

Whoever calls sudo says where the agent is. They may name another user's, by a link or openly, or
one of their own that never ends to answer: so it is connected to with the session user's rights,
must be served by this session's sshd, and has a few seconds.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NoReturn

from tatu.agent import processes, signatures
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.keys import UserCertificate, string
from tatu.agent.sessions import Session

EXTENSION = b"sudo-challenge@tatu"
"""How a filtering agent is shown the challenge; another agent fails it, and signs all the same."""

_SIGN_REQUEST = b"\x0d"
_SIGN_RESPONSE = b"\x0e"
_EXTENSION_REQUEST = b"\x1b"
_RSA_SHA2_512 = 4
_MAX_ANSWER = 16 * 2**10
_MAX_PATH = 107  # what fits into a socket's address
_MAX_REASON = 256
_PEER = struct.Struct("iII")  # socket(7), SO_PEERCRED


@dataclass
class Connection:
    """A connection to an agent, until a time of the monotonic clock."""

    socket: socket.socket
    until: float

    def sign(self, certificate: UserCertificate, message: bytes) -> str:
        """Return an armored signature `sudo@tatu`, not verified yet; raises `AgentError`."""
        self._ask(_EXTENSION_REQUEST + string(EXTENSION) + string(message))
        blob = base64.b64decode(certificate.line.split(" ")[1])
        flags = _RSA_SHA2_512 if certificate.subject_key.startswith("ssh-rsa ") else 0
        data = string(_to_be_signed(message))
        answer = self._ask(_SIGN_REQUEST + string(blob) + data + flags.to_bytes(4, "big"))
        length = int.from_bytes(answer[1:5], "big")
        if answer[:1] != _SIGN_RESPONSE or len(answer) != 5 + length:
            raise AgentError("the agent did not sign: it has another key, or was told not to")
        return _armored(certificate.subject_key, answer[5:])

    def peer(self) -> tuple[int, int]:
        """Return the process and the user who listened at this socket first."""
        data = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        process, user, _ = _PEER.unpack(data)
        return process, user

    def _ask(self, request: bytes) -> bytes:
        try:
            self.socket.settimeout(_left(self.until))
            self.socket.sendall(string(request))
            length = int.from_bytes(self._exactly(4), "big")
            if not 0 < length <= _MAX_ANSWER:
                raise Malformed("what answers is no agent")
            return self._exactly(length)
        except OSError as error:
            raise AgentError(f"the agent does not answer: {error}") from error

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            self.socket.settimeout(_left(self.until))
            part = self.socket.recv(length - len(data))
            if not part:
                raise AgentError("the agent ended the connection")
            data += part
        return data


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise AgentError("the agent took too long")
    return left


@contextmanager
def connected(path: str, user: pwd.struct_passwd, until: float) -> Iterator[Connection]:
    """Connect with a user's rights and no others; raises `AgentError`."""
    seconds = _left(until)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            child = os.fork()
            if not child:
                _connect_as(user, path, theirs, seconds)
        try:
            ours.settimeout(_left(until))
            said, found, _, _ = socket.recv_fds(ours, _MAX_REASON, 1)
        except OSError as error:
            raise AgentError("the agent does not answer") from error
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if not found:
        raise AgentError(said.decode("ascii", "replace") or "the agent cannot be reached")
    with socket.socket(fileno=found[0]) as connection:
        yield Connection(connection, until)


def _connect_as(
    user: pwd.struct_passwd, path: str, answers: socket.socket, seconds: float
) -> NoReturn:
    """In a process of its own: become the user, connect, hand the connection over, end."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                place = _located(path, user.pw_uid)
                connection.connect(f"/proc/self/fd/{place}")
                socket.send_fds(answers, [b"connected"], [connection.fileno()])
        except AgentError as error:
            answers.send(str(error).encode("ascii", "replace")[:_MAX_REASON])
        except OSError as error:
            answers.send(f"the agent cannot be reached: {error.strerror}".encode()[:_MAX_REASON])
    finally:
        os._exit(0)


def _located(path: str, owner: int) -> int:
    """Return the socket at a path, opened as a place only; raises `AgentError`, OSError.

    No link is followed, and each folder on the way is root's or the owner's: what was looked at
    is what is connected to, whoever renames meanwhile.
    """
    root, *below = path.split("/")
    if len(path) > _MAX_PATH or root or not below or {"", ".", ".."} & set(below):
        raise AgentError("SSH_AUTH_SOCK is no plain absolute path")
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    at = os.open("/", flags | os.O_DIRECTORY)
    for name in below[:-1]:
        at = os.open(name, flags, dir_fd=at)
        status = os.fstat(at)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (0, owner):
            raise AgentError("the path of SSH_AUTH_SOCK has a link, or a folder of somebody else")
    found = os.open(below[-1], flags, dir_fd=at)
    status = os.fstat(found)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != owner:
        raise AgentError("SSH_AUTH_SOCK names no socket of this account's")
    return found


def serves(process: int, session: Session) -> bool:
    """Say whether a process is the one by which sshd serves a session that is still open."""
    try:
        monitor, server = processes.stat(session.monitor), processes.stat(process)
    except OSError:
        return False
    # A number that was given to another process since has another start
    is_open = monitor[processes.STARTED] == str(session.started)
    return is_open and server[processes.PARENT] == str(session.monitor)


def _to_be_signed(message: bytes) -> bytes:
    """Return what a key signs for a message (PROTOCOL.sshsig)."""
    digest = hashlib.sha512(message).digest()
    parts = (signatures.SUDO.encode(), b"", b"sha512", digest)
    return b"SSHSIG" + b"".join(map(string, parts))


def _armored(key: str, signature: bytes) -> str:
    """Return the text form of a signature by a key."""
    blob = base64.b64decode(key.split(" ")[1])
    parts = (blob, signatures.SUDO.encode(), b"", b"sha512", signature)
    envelope = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, parts))
    text = base64.b64encode(envelope).decode()
    lines = (text[at : at + 70] for at in range(0, len(text), 70))
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""))
