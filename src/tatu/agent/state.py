"""What the agent remembers: who this host is, and the newest statement that it verified.

One file holds it all and is replaced whole; the revocation list lies beside, named by its digest.
The pinned statement keys are the newest statement's; the time floor is when that was issued.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from tatu.agent import files, statement
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.statement import Receiver, Statement

KRL_MAGIC = b"SSHKRL\n\0"
MAX_KRL = 16 * 2**20

_MAX_STATE = 2**20
_MACHINE = {
    "machine-id": "etc/machine-id",
    "product-uuid": "sys/class/dmi/id/product_uuid",
    "instance-id": "var/lib/cloud/data/instance-id",
}


@dataclass(frozen=True)
class State:
    """An enrolment and what follows from it; `certificates` go by the names of host key files."""

    url: str
    ca_file: str | None
    insecure_http: bool
    deployment: str
    authority: str
    host: str
    machine: dict[str, str]
    certificates: dict[str, str]
    statement: str
    signature: str

    @property
    def receiver(self) -> Receiver:
        """Whom a statement must be for."""
        return Receiver(self.deployment, self.authority, self.host)

    @property
    def newest(self) -> Statement:
        """The newest verified statement."""
        return statement.decode(self.statement.encode())


def floored(now: datetime, last: Statement | None) -> datetime:
    """Return the time, which is never before the newest verified statement was issued (S18)."""
    return max(now, last.issued) if last else now


def machine(root: Path) -> dict[str, str]:
    """Return what tells this machine from a copy of its disk, hashed: some of it is secret.

    What is absent, or for others to read, says nothing.
    """
    found = {}
    for name, path in _MACHINE.items():
        target = (root / path).resolve()  # some systems keep a link in /etc
        readable = os.access(target, os.R_OK)
        value = ((files.read(target, 4096) if readable else None) or b"").strip().lower()
        if value:
            found[name] = hashlib.sha256(value).hexdigest()
    return found


def check_machine(recorded: dict[str, str], root: Path) -> None:
    """Raise `AgentError` when the enrolment was made on another machine."""
    here = machine(root)
    differing = [name for name in recorded if name in here and here[name] != recorded[name]]
    if differing:
        raise AgentError(
            f"this identity was copied from another machine (its {', '.join(differing)} differs): "
            "enrol this one with a token of its own"
        )


@dataclass(frozen=True)
class Store:
    """The folder, mode 0700, that keeps the state."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs of the agent out; raises `AgentError` when one is at work."""
        files.folder(self.folder, 0o700)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open(self.folder / "lock", flags, 0o600)
        except OSError as error:
            raise AgentError(f"cannot lock {self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AgentError("another tatu-agent is at work") from error
        else:
            yield
        finally:
            os.close(lock)

    def load(self) -> State | None:
        """Return the state, or None before the first enrolment; raises `AgentError`."""
        data = files.read(self.folder / "state.json", _MAX_STATE)
        if data is None:
            return None
        try:
            state = State(**json.loads(data))
            _ = state.newest
        except (ValueError, TypeError, AttributeError, RecursionError, Malformed) as error:
            raise Malformed(f"{self.folder}/state.json is damaged: enrol again") from error
        return state

    def krl(self, state: State) -> bytes:
        """Return the newest verified statement's revocation list; raises `AgentError`."""
        return self.krl_of(state.newest)

    def krl_of(self, newest: Statement) -> bytes:
        """Return a statement's revocation list; raises `AgentError`."""
        digest = newest.krl_digest
        data = files.read(self._krl_path(digest), MAX_KRL)
        if data is None or krl_digest(data) != digest:
            raise AgentError("the kept revocation list is damaged: it will be fetched again")
        return data

    def krl_path(self, state: State) -> Path:
        """Return where `krl` reads that list."""
        return self._krl_path(state.newest.krl_digest)

    def forget_krl(self, state: State) -> None:
        """Remove that list: nobody gains by its statement until it is fetched again."""
        files.remove(self.krl_path(state))

    def stage(self, krl: bytes) -> Path:
        """Keep a list that no statement kept here names yet, and return where it is."""
        path = self._krl_path(krl_digest(krl))
        files.write(path, krl, 0o600)
        return path

    def save(self, state: State) -> None:
        """Remember, and forget the lists that are no longer named."""
        data = json.dumps(asdict(state), indent=1, sort_keys=True).encode()
        files.write(self.folder / "state.json", data, 0o600)
        named = self._krl_path(state.newest.krl_digest)
        for path in self.folder.glob("krl-*"):
            if path != named:
                with suppress(AgentError):  # the next time does it; what was saved is in force
                    files.remove(path)

    def noted(self, name: str) -> bytes | None:
        """Return the digest under which something was last seen done."""
        return files.read(self.folder / name, 128)

    def note(self, name: str, digest: bytes) -> None:
        """Remember what was done: `loaded`, by sshd, or `proven`."""
        files.write(self.folder / name, digest, 0o600)

    def _krl_path(self, digest: str) -> Path:
        return self.folder / f"krl-{digest[len('sha256:') :]}"


def krl_digest(krl: bytes) -> str:
    """Return how a statement names the very bytes of a revocation list."""
    return f"sha256:{hashlib.sha256(krl).hexdigest()}"


def own(store: Store, root: Path) -> State:
    """Return the state of this machine's own enrolment; raises `AgentError`."""
    state = store.load()
    if state is None:
        raise AgentError("this host is not enrolled: tatu-agent enrol")
    check_machine(state.machine, root)
    return state
