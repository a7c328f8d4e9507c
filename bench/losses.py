"""From a role that is removed in Keystone to the revocation list that hosts get."""

import json
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from sqlalchemy import func, select

from bench import cloud, crowd
from bench.cloud import ROLE, CloudTatu
from bench.krl import told
from bench.processes import running
from bench.report import Context, Row
from tatu.store.database import make_engine
from tatu.store.tables import certificates

_SECTION = "losses"
_CERTIFICATES = 10_000
_USERS = 100
_REMOVED = 40
_SECONDS = 2.0
_POLL = 0.01  # seconds between two questions for the list
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """When, in seconds since the epoch, things were done about a role that was removed."""

    asked: float
    answered: float
    heard: float
    revoked: float
    listed: float


_PARTS = (
    ("until Keystone has answered", "asked", "answered"),
    ("until the worker hears of it", "asked", "heard"),
    ("then until it has asked Keystone what the user has left", "heard", "revoked"),
    ("then until the API serves a list with it", "revoked", "listed"),
)


def measure(context: Context) -> Iterator[Row]:
    """Remove one role after the other, and poll the list as it is served."""
    with ExitStack() as stack:
        lab = stack.enter_context(cloud.lab(context, "losses"))
        tatu = CloudTatu(folder=context.folder / "losses", lab=lab)
        tatu.prepare()
        context.say(f"losses: making {_CERTIFICATES:,} certificates")
        members = crowd.people(lab, projects=1, users=_USERS)
        ((project, users),) = members.items()
        serials = crowd.certify(tatu, members, each=_CERTIFICATES // _USERS)
        stack.enter_context(tatu.serving())
        worker = stack.enter_context(_worker(tatu))
        context.say("losses: removing roles")
        hosts = _Hosts(tatu=tatu, authority=project)
        found = []
        for user in users[:_REMOVED]:
            asked = time.time()
            tatu.cloud.unassign(ROLE, f"projects/{project}", user=user)
            answered = time.time()
            listed = hosts.wait(serials[user])
            found.append(
                Loss(
                    asked=asked,
                    answered=answered,
                    heard=_heard(worker),
                    revoked=_revoked(tatu, user),
                    listed=listed,
                )
            )
    taken = _taken(found, "asked", "listed")
    yield Row(
        section=_SECTION,
        name="p99 from asking Keystone to remove a role until GET krl has it",
        unit="s",
        runs=[_p99(taken)],
        goal=_SECONDS,
        p50=1000 * median(taken),
        p99=1000 * _p99(taken),
        note=f"{len(found)} removals, {_CERTIFICATES // _USERS} of {_CERTIFICATES:,} certificates"
        " each",
    )
    for name, since, until in _PARTS:
        part = _taken(found, since, until)
        yield Row(
            section=_SECTION,
            name=name,
            unit="s",
            runs=part,
            p50=1000 * median(part),
            p99=1000 * _p99(part),
        )


def _taken(found: Sequence[Loss], since: str, until: str) -> Sequence[float]:
    return sorted(getattr(loss, until) - getattr(loss, since) for loss in found)


def _p99(taken: Sequence[float]) -> float:
    return taken[len(taken) * 99 // 100]


def _heard(log: Path) -> float:
    """Return when the worker was told the last time, by its log."""
    notice = [line for line in log.read_text().splitlines() if '"event":"notice"' in line][-1]
    return datetime.fromisoformat(json.loads(notice)["timestamp"]).timestamp()


def _revoked(tatu: CloudTatu, user: str) -> float:
    """Return when the worker began to write down what was lost, by the ledger."""
    engine = make_engine(tatu.database, pool_size=1)
    try:
        with engine.connect() as ledger:
            at = func.max(certificates.c.revoked_at)
            found = ledger.scalar(select(at).where(certificates.c.subject == user))
    finally:
        engine.dispose()
    return float(found.timestamp())


class _Hosts:
    """Whoever asks for an authority's list again and again."""

    def __init__(self, *, tatu: CloudTatu, authority: str) -> None:
        self._tatu = tatu
        self._path = f"/v2/authorities/{authority}/krl"
        self._etag = ""
        self._list = tatu.folder / "krl"
        self._ask()

    def wait(self, serials: Collection[int]) -> float:
        """Wait until the list has these serials; return when it came."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if self._ask():
                came = time.time()
                if told(self._list).issuperset(serials):
                    return came
            time.sleep(_POLL)
        raise RuntimeError(
            f"{len(serials)} certificates are good {_PATIENCE:.0f} s after their loss"
        )

    def _ask(self) -> bool:
        """Say whether there is a new list; it is then in a file."""
        connection = HTTPConnection("127.0.0.1", self._tatu.port, timeout=_PATIENCE)
        try:
            connection.request("GET", self._path, headers={"If-None-Match": self._etag})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 304:
            return False
        if answer.status != 200:
            raise RuntimeError(f"GET {self._path}: {answer.status} {body.decode()}")
        self._etag = answer.headers["ETag"] or ""
        self._list.write_bytes(body)
        return True


@contextmanager
def _worker(tatu: CloudTatu) -> Iterator[Path]:
    """Keep `tatu-worker` running inside of the block, when it has compared once; give its log."""
    log = tatu.folder / "worker.log"
    command = [str(Path(sys.executable).with_name("tatu-worker"))]
    with running(
        [*command, "--config-file", str(tatu.config)],
        log=log,
        ready=lambda: all(said in log.read_text() for said in ('"working"', '"reconciled"')),
        patience=_PATIENCE,
    ):
        yield log
