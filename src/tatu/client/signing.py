"""Keys that a person signs with: in ssh-agent, or in an OpenSSH private key file."""

import base64
import binascii
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tatu.client import files
from tatu.client.sshagent import Agent
from tatu.core import wire
from tatu.core.errors import Conflict, Malformed, NotFound, TatuError, Unauthenticated
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed

AGENT = "agent:"
_DEFAULTS = ("id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_rsa")
_BEGIN = "-----BEGIN OPENSSH PRIVATE KEY-----"
_END = "-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


class SigningKey(Protocol):
    """A key pair whose private half is used where it lives."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""

    def sign(self, namespace: Namespace, message: bytes) -> str:
        """Return the armored SSHSIG over a message, for one purpose."""


@dataclass(frozen=True, kw_only=True)
class AgentKey:
    """A key in ssh-agent."""

    agent: Agent
    public_key: PublicKey

    def sign(self, namespace: Namespace, message: bytes) -> str:
        """Sign; raises as `Agent.sign` does."""
        blob = self.agent.sign(self.public_key, to_be_signed(namespace, message))
        return SshSignature(self.public_key, namespace, "sha512", blob).armored


@dataclass(frozen=True, kw_only=True)
class FileKey:
    """A key in a file, used by ssh-keygen: it opens every kind that ssh does, hardware keys too.

    The passphrase is asked for at a terminal, and nowhere else.
    """

    path: Path
    public_key: PublicKey = field(init=False)

    def __post_init__(self) -> None:
        """Read the public half, which is never encrypted."""
        object.__setattr__(self, "public_key", _public_half(files.read(self.path), self.path))

    def sign(self, namespace: Namespace, message: bytes) -> str:
        """Sign; raises `Unauthenticated` when the file does not open, `Conflict` if others may."""
        if self.path.stat().st_mode & 0o077:
            raise Conflict(f"{self.path} can be read by others: ssh would not use it (chmod 600)")
        at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
        result = subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", self.path],
            input=message,
            stdout=subprocess.PIPE,
            stderr=None if at_terminal else subprocess.DEVNULL,
            env=os.environ if at_terminal else {**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
            # away from any terminal there is none to ask at
            start_new_session=not at_terminal,
            check=False,
        )
        if result.returncode:
            raise Unauthenticated(
                f"{self.path} does not open: it needs its passphrase or a touch, at a terminal"
                " or by ssh-add"
            )
        made = SshSignature.parse(result.stdout.decode())
        if made.public_key != self.public_key:
            raise Conflict(f"{self.path} is not the private half of {self.path}.pub")
        return made.armored


def reference(text: str) -> str:
    """Return what `find` takes from any folder: a path is made absolute."""
    return text if text.startswith(AGENT) else str(Path(text).expanduser().absolute())


def find(reference: str) -> SigningKey:
    """Return the key that `agent:<fingerprint>` or a path names.

    A file's key is used in ssh-agent when it is there, for it is open already. Raises `NotFound`.
    """
    if reference.startswith(AGENT):
        agent = Agent.of_environment()
        for key, _ in agent.identities():
            if key.fingerprint == reference.removeprefix(AGENT):
                return AgentKey(agent=agent, public_key=key)
        raise NotFound(f"ssh-agent holds no key {reference.removeprefix(AGENT)}")
    path = Path(reference).expanduser()
    private = path.with_suffix("") if path.suffix == ".pub" else path
    public = path if path.suffix == ".pub" else Path(f"{path}.pub")
    key = PublicKey.parse(files.read(public)) if public.exists() else FileKey(path=path).public_key
    return of_public_key(key, private)


def of_public_key(key: PublicKey, private: Path) -> SigningKey:
    """Return the pair of a public key: in ssh-agent, or else in this file; raises `NotFound`."""
    try:
        agent = Agent.of_environment()
        if agent.holds(key):
            return AgentKey(agent=agent, public_key=key)
    except TatuError:
        pass  # the file may do
    if not private.exists():
        raise NotFound(
            f"neither ssh-agent nor {private} has the private half of {key.fingerprint}"
        )
    found = FileKey(path=private)
    if found.public_key != key:
        raise Conflict(f"{private} is not the private half of {key.fingerprint}")
    return found


def in_agent(key: PublicKey) -> SigningKey:
    """Return the pair of a public key in ssh-agent; raises `NotFound`."""
    return find(f"{AGENT}{key.fingerprint}")


def default() -> str:
    """Return the key to sign in with when none is named; raises `NotFound`.

    The first of ssh's own default files; else the one key in ssh-agent.
    """
    for name in _DEFAULTS:
        if (path := Path.home() / ".ssh" / name).exists():
            return str(path)
    try:
        keys = Agent.of_environment().identities()
    except TatuError:
        keys = ()
    if len(keys) == 1:
        return AGENT + keys[0][0].fingerprint
    raise NotFound("which key to sign in with? give --key FILE or --key agent:FINGERPRINT")


def _public_half(text: str, path: Path) -> PublicKey:
    """Read the public key that stands before the encrypted part (PROTOCOL.key)."""
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:  # noqa: PLR2004
        raise Malformed(f"{path} is no OpenSSH private key")
    try:
        data = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{path} is damaged") from error
    reader = wire.Reader(data, str(path))
    if reader.raw(len(_MAGIC)) != _MAGIC:
        raise Malformed(f"{path} is no OpenSSH private key")
    for _ in ("cipher", "key derivation", "its options"):
        reader.string()
    if reader.uint32() != 1:
        raise Malformed(f"{path} does not hold just one key")
    return PublicKey.from_blob(reader.string())
