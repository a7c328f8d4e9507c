"""From asking to revoke until a whole fleet has shown that it obeys, and what a fleet costs."""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from demo.machine import free_port

from bench.processes import answers, cpu_seconds, rss, running, tree
from bench.report import Context, Row
from bench.tatu import Caller, Key, Tatu
from tatu import bootstrap
from tatu.agent.daemon import Pace
from tatu.config import load
from tatu.core.authority import KeyState, Purpose
from tatu.store import columns
from tatu.store.bulk import insert_rows
from tatu.store.ledger import SqlLedger
from tatu.store.tables import hosts

_SECTION = "fleet"
_SILENT = 0.05  # of all hosts are partitioned
_SECONDS = 5.0
_PATIENCE = 120.0
_LARGE = 10_000
_WATCH = "\n[watch]\nendpoint = /watch\nbind_port = {port}\n"
_FILES = 1.5  # open files for each host, in the process of all agents and in the door


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Tatu with a watch door, and so many enrolled hosts."""

    tatu: Tatu
    door: int = field(default_factory=free_port)

    def prepare(self) -> None:
        """Make it, and one project's authority."""
        self.tatu.prepare()
        with self.tatu.config.open("a") as config:
            config.write(_WATCH.format(port=self.door))

    @contextmanager
    def serving(self) -> Iterator[tuple[int, int]]:
        """Keep API and door running inside of the block; return their process ids."""
        door = [str(Path(sys.executable).with_name("tatu-watch"))]
        with (
            self.tatu.serving() as api,
            running(
                [*door, "--config-file", str(self.tatu.config)],
                log=self.tatu.folder / "watch.log",
                ready=lambda: answers(self.door, "/readyz"),
            ) as watch,
        ):
            yield api.pid, watch.pid

    def enrol(self, authority: str, count: int) -> Mapping[str, str]:
        """Enrol hosts, each with a key of its own; return the private keys, in hex, by host."""
        made = {f"host-{number:05}": Key() for number in range(count)}
        ledger = bootstrap.open_ledger(load([f"--config-file={self.tatu.config}"]))
        try:
            _enrol(ledger, authority, made)
        finally:
            ledger.close()
        return {name: _secret(key.private) for name, key in made.items()}

    def statement_keys(self, authority: str) -> list[str]:
        """Return what the hosts of an authority pin."""
        ledger = bootstrap.open_ledger(load([f"--config-file={self.tatu.config}"]))
        try:
            found = ledger.authorities.get(authority).trusted(Purpose.STATEMENT)
            return [key.public_key.line for key in found if key.state is not KeyState.RETIRED]
        finally:
            ledger.close()

    def watching(self) -> int:
        """Return how many hosts wait at the door."""
        connection = HTTPConnection("127.0.0.1", self.door, timeout=30)
        try:
            connection.request("GET", "/readyz")
            return int(json.loads(connection.getresponse().read())["watching"])
        finally:
            connection.close()


def _enrol(ledger: SqlLedger, authority: str, made: Mapping[str, Key]) -> None:
    """Put hosts in the ledger at once: one by one they would take longer than all else here."""
    now = columns.micros(datetime.now(UTC))
    values: dict[str, object] = {
        **dict.fromkeys((column.name for column in hosts.columns), None),
        "authority": authority,
        "names": "[]",
        "addresses": "[]",
        "epoch": 1,
        "instance": False,
        "legacy": False,
        **dict.fromkeys(("admitted_until", "created_at", "enrolled_at"), now),
    }
    rows = [
        tuple({**values, "id": name, "host_keys": columns.dump([key.public.line])}.values())
        for name, key in made.items()
    ]
    database = ledger._database  # noqa: SLF001
    database.write(lambda connection: insert_rows(connection, hosts, rows))


def _secret(private: Ed25519PrivateKey) -> str:
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return raw.hex()


class Agents:
    """The process with all hosts, and what it tells."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._told = threading.Condition()
        self.receipts: dict[str, tuple[int, float]] = {}
        self.silent = 0
        self.failures: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def silence(self, count: int) -> None:
        """Have so many hosts do nothing any more, with the connections that they have."""
        assert self._process.stdin
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        self._until(lambda: self.silent == count, "the hosts do not fall silent")

    def obeying(self, hosts: Collection[str], krl_version: int) -> Sequence[float]:
        """Return when each of these hosts had its receipt of that version, or a later, taken."""

        def done() -> list[float]:
            found = (self.receipts[host] for host in hosts if host in self.receipts)
            return [at for version, at in found if version >= krl_version]

        self._until(lambda: len(done()) == len(hosts), "receipts are missing")
        with self._told:
            return sorted(done())

    def _until(self, holds: Any, what: str) -> None:
        with self._told:
            if not self._told.wait_for(holds, _PATIENCE):
                raise RuntimeError(f"{what}; {self.failures[-1:]}")

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            kind, name, *rest = line.split()
            with self._told:
                if kind == "receipt":
                    self.receipts[name] = int(rest[0]), float(rest[1])
                elif kind == "silent":
                    self.silent = int(name)
                else:
                    self.failures.append(line.strip())
                self._told.notify_all()


@contextmanager
def _agents(folder: Path, job: Mapping[str, Any]) -> Iterator[Agents]:
    path = folder / "agents.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(job))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.agents", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Agents(process)
    finally:
        process.kill()
        process.wait()


def measure(context: Context) -> Iterator[Row]:
    """Revoke one certificate after the other, before fleets of two sizes."""
    quick = context.runs < 5
    yield from _fleet(context, 1000)
    if not quick:
        yield from _fleet(context, _possible(_LARGE))


def _possible(wanted: int) -> int:
    """Return how many hosts this machine's open files allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, int(most / _FILES))


def _fleet(context: Context, count: int) -> Iterator[Row]:
    folder = context.folder / f"fleet-{count}"
    deployment = Deployment(tatu=Tatu(folder=folder, database=f"sqlite:///{folder}/tatu.db"))
    deployment.prepare()
    with deployment.tatu.serving():
        caller = deployment.tatu.caller()
    context.say(f"fleet: enrolling {count:,} hosts")
    job = {
        "api": deployment.tatu.port,
        "door": deployment.door,
        "deployment": caller.deployment,
        "authority": caller.authority,
        "statement_keys": deployment.statement_keys(caller.authority),
        "keys": deployment.enrol(caller.authority, count),
    }
    with deployment.serving() as (api, door):
        empty = sum(map(rss, tree(door)))
        with _agents(folder, job) as agents:
            context.say("fleet: hosts come up")
            # some are always about to ask again: a door holds nobody for long
            _wait(
                lambda: len(agents.receipts) == count and deployment.watching() > 0.9 * count,
                agents,
            )
            held = sum(map(rss, tree(door)))
            context.say("fleet: idle")
            before, begun = (cpu_seconds(api), cpu_seconds(door)), time.monotonic()
            time.sleep(max(10.0, 20 * context.seconds))  # what is measured is that nothing happens
            minutes = (time.monotonic() - begun) / 60
            idle = [
                60_000 * (cpu_seconds(pid) - used) / count / minutes / 60
                for pid, used in zip((api, door), before, strict=True)
            ]
            silent = int(count * _SILENT)
            agents.silence(silent)
            time.sleep(2 * Pace().spread)  # what one had begun is done
            names = list(job["keys"])
            context.say("fleet: revoking")
            found = [
                _revoke(caller, agents, (api, door), names[silent:], names[:silent])
                for _ in range(context.runs)
            ]
        memory = sum(map(rss, tree(api)))
    yield from _rows(count, silent, found)
    for what, cost in zip(("API", "watch door"), idle, strict=True):
        yield Row(
            section=_SECTION,
            name=f"{what}: processor time for each of {count:,} idle hosts, a minute",
            unit="ms",
            runs=[cost],
        )
    yield Row(
        section=_SECTION,
        name=f"watch door: memory for each of {count:,} hosts that wait",
        unit="kB",
        runs=[(held - empty) / count / 1000],
        note=f"{held / 1e6:.0f} MB in all; the API has {memory / 1e6:.0f} MB",
    )


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """What one revocation took: seconds for each host, and processor time of API and door."""

    taken: Sequence[float]
    named: int
    api: float
    door: float


def _revoke(
    caller: Caller,
    agents: Agents,
    servers: tuple[int, int],
    reachable: Sequence[str],
    silent: Sequence[str],
) -> Revocation:
    tatu = caller.tatu
    made = tatu.ask("POST", caller.certificates, caller.body(Key()), caller.token)
    used = [cpu_seconds(pid) for pid in servers]
    begun = time.monotonic()
    revocations = f"/v2/authorities/{caller.authority}/revocations"
    wanted = {"serial": made["serial"], "reason": "bench"}
    version = tatu.ask("POST", revocations, wanted, caller.token)["krl_version"]
    receipts = agents.obeying(reachable, version)
    now = [cpu_seconds(pid) for pid in servers]
    return Revocation(
        taken=[at - begun for at in receipts],
        named=_named(caller, version, set(silent)),
        api=now[0] - used[0],
        door=now[1] - used[1],
    )


def _named(caller: Caller, version: int, silent: set[str]) -> int:
    """Return how many hosts the API names as missing; they are those that are silent."""
    path = f"/v2/authorities/{caller.authority}/receipts?at_least={version}&limit=1000"
    listed = caller.tatu.ask("GET", path, token=caller.token)
    missing = {item["host"] for item in listed["items"] if not item["done"]}
    if missing != silent:
        raise RuntimeError(f"{len(missing ^ silent)} hosts are named wrongly, or not")
    return len(missing)


def _rows(count: int, silent: int, found: Sequence[Revocation]) -> Iterator[Row]:
    ends = [_p99(revocation.taken) for revocation in found]
    yield Row(
        section=_SECTION,
        name=f"{count:,} hosts: p99 from asking to revoke until a host's receipt is taken",
        unit="s",
        runs=ends,
        goal=_SECONDS if count <= 1000 else None,
        p50=1000 * median(median(revocation.taken) for revocation in found),
        p99=1000 * median(ends),
        note=f"{silent:,} of them partitioned, and all of those named; the agents in one process"
        " on the same machine",
    )
    for what, used in (
        ("API", [revocation.api for revocation in found]),
        ("watch door", [revocation.door for revocation in found]),
    ):
        yield Row(
            section=_SECTION,
            name=f"{what}: processor time for each of {count:,} hosts and revocation",
            unit="ms",
            runs=[1000 * seconds / (count - silent) for seconds in used],
        )


def _wait(holds: Any, agents: Agents) -> None:
    deadline = time.monotonic() + 3 * _PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the hosts do not come up; {agents.failures[-1:]}")
        time.sleep(0.25)


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[len(taken) * 99 // 100]
