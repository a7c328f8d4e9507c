"""Many hosts in one process: each watches, fetches, checks and receipts as `tatu-agent` does.

Each has a key and an address of its own, opens a connection for each request, and rests as long as
the agent. Only what costs the hosts and not Tatu is shared: equal statements are verified once.
Tells of each receipt on standard output; a number on standard input is from then on how many hosts
are silent, and keep what they opened.
"""

import asyncio
import hashlib
import json
import random
import resource
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.tatu import Key
from tatu.agent.daemon import Pace
from tatu.core import hostrequest, statement
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import Statement
from tatu.drivers.verifier.cryptography import CryptographyVerifier

_FIRST = 0.02  # seconds for each host, over which all of them come up
_FIRST_ADDRESS = IPv4Address("127.1.0.1")  # each host has one, as hosts have
_AGAIN = (1.0, 3.0)
_SPREAD = Pace().spread
_NOT_MODIFIED, _NO_CONTENT, _TAKEN = 304, 204, 200


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where Tatu is, and who the hosts are: their private keys by their ids."""

    api: int
    door: int
    deployment: str
    authority: str
    statement_keys: list[str]
    keys: dict[str, str]


class Failed(Exception):
    """An answer was not what it should be."""


async def ask(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    source: str,
) -> tuple[int, bytes]:
    """Ask from an address, on a connection of its own; return the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        return int(head[9:12] or 0), answer
    finally:
        writer.close()


@dataclass(kw_only=True)
class Fleet:
    """What all hosts share."""

    job: Job
    silent: set[str] = field(default_factory=set)
    _verified: dict[str, Statement] = field(default_factory=dict)

    def verified(self, text: str, signature: str) -> Statement:
        """Return what a statement says, when a key of the authority signed it."""
        if signature not in self._verified:
            found = SshSignature.parse(signature)
            if found.public_key.line not in self.job.statement_keys:
                raise Failed("a stranger signed the statement")
            signed = found.signed_bytes(Namespace.STATEMENT, text.encode())
            CryptographyVerifier().verify(found.public_key, found.signature, signed)
            self._verified = {signature: statement.decode(text.encode())}
        return self._verified[signature]


@dataclass(kw_only=True)
class Host:
    """One agent."""

    fleet: Fleet
    id: str
    address: str
    key: Key
    public: PublicKey
    newest: Statement | None = None

    async def live(self) -> None:
        """Come up, and then sync whenever there is news."""
        await asyncio.sleep(random.uniform(0, _FIRST * len(self.fleet.job.keys)))
        while self.id not in self.fleet.silent:
            try:
                await self.sync()
                await self._watch()
                await asyncio.sleep(random.uniform(0, _SPREAD))
            except (OSError, ValueError, Failed) as error:
                print(f"failed {self.id} {type(error).__name__} {error}", flush=True)
                await asyncio.sleep(random.uniform(*_AGAIN))

    async def _watch(self) -> None:
        after = self.newest.version if self.newest else 0
        path = f"/watch/v2/authorities/{self.fleet.job.authority}?after={after}"
        status, _ = await ask(self.fleet.job.door, "GET", path, source=self.address)
        if status not in (_TAKEN, _NO_CONTENT):
            raise Failed(f"the door answered {status}")

    async def sync(self) -> None:
        """Fetch what is newer, check it, and say so."""
        job, last = self.fleet.job, self.newest
        place = f"/v2/authorities/{job.authority}"
        known = {"If-None-Match": f'"{last.version}"'} if last else {}
        status, body = await ask(job.api, "GET", f"{place}/statement", known, source=self.address)
        if status == _NOT_MODIFIED:
            return
        answer = json.loads(body)
        new = self.fleet.verified(answer["statement"], answer["signature"])
        if last and new.version <= last.version:
            return
        if new.expires <= datetime.now(UTC) or (new.authority != job.authority):
            raise Failed("the statement may not be obeyed")
        if last is None or new.krl_version != last.krl_version:
            status, krl = await ask(
                job.api, "GET", f"{place}/krl/{new.krl_version}", source=self.address
            )
            if f"sha256:{hashlib.sha256(krl).hexdigest()}" != new.krl_digest:
                raise Failed("the list is not the one that was signed")
        await self._receipt(new)
        self.newest = new

    async def _receipt(self, new: Statement) -> None:
        job = self.fleet.job
        now = datetime.now(UTC).replace(microsecond=0)
        body = json.dumps(
            {
                "statement_version": new.version,
                "krl_version": new.krl_version,
                "krl_digest": new.krl_digest,
                "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            }
        ).encode()
        path = f"/v2/authorities/{job.authority}/hosts/{self.id}/receipt"
        nonce = random.randbytes(16).hex()
        message = hostrequest.message(
            deployment=job.deployment,
            authority=job.authority,
            host=self.id,
            method="PUT",
            path=path,
            body_digest=hashlib.sha256(body).hexdigest(),
            time=now,
            nonce=nonce,
        )
        armored = self.key.signed(Namespace.HOST, message)
        headers = {
            "Tatu-Host": f"{job.authority}/{self.id}",
            "Tatu-Time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "Tatu-Nonce": nonce,
            "Tatu-Signature": "".join(armored.splitlines()[1:-1]),
        }
        status, answer = await ask(job.api, "PUT", path, headers, body, source=self.address)
        if status != _TAKEN:
            raise Failed(f"the receipt was answered {status}: {answer[-200:].decode()}")
        print(f"receipt {self.id} {new.krl_version} {time.monotonic()}", flush=True)


async def run(job: Job) -> None:
    """Let all hosts live until standard input ends."""
    fleet = Fleet(job=job)
    hosts = []
    for number, (name, secret) in enumerate(job.keys.items()):
        key = Key(private=Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))
        hosts.append(
            Host(
                fleet=fleet,
                id=name,
                address=str(_FIRST_ADDRESS + number),
                key=key,
                public=key.public,
            )
        )
    living = [asyncio.create_task(host.live()) for host in hosts]
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        fleet.silent = set(list(job.keys)[: int(line)])
        print(f"silent {int(line)}", flush=True)
    for task in living:
        task.cancel()


def main() -> None:
    """Read the job from the file that is named."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    asyncio.run(run(job))


if __name__ == "__main__":
    main()
