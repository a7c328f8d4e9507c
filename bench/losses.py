"""From a role that is removed in Keystone to the revocation list that hosts get."""

import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from bench import cloud, crowd
from bench.cloud import ROLE, CloudTatu
from bench.krl import told
from bench.processes import running
from bench.report import Context, Row

_SECTION = "losses"
_CERTIFICATES = 10_000
_USERS = 100
_REMOVED = 40
_SECONDS = 2.0
_POLL = 0.01  # seconds between two questions for the list
_PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Seconds from asking Keystone: until it answered, until the list was another."""

    answered: float
    listed: float


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
        stack.enter_context(_worker(tatu))
        context.say("losses: removing roles")
        hosts = _Hosts(tatu=tatu, authority=project)
        found = []
        for user in users[:_REMOVED]:
            began = time.perf_counter()
            tatu.cloud.unassign(ROLE, f"projects/{project}", user=user)
            answered = time.perf_counter() - began
            listed_at = hosts.wait(serials[user])
            found.append(Loss(answered=answered, listed=listed_at - began))
    listed = sorted(loss.listed for loss in found)
    yield Row(
        section=_SECTION,
        name="p99 from asking Keystone to remove a role until GET krl has it",
        unit="s",
        runs=[listed[len(listed) * 99 // 100]],
        goal=_SECONDS,
        p50=1000 * median(listed),
        p99=1000 * listed[len(listed) * 99 // 100],
        note=f"{len(found)} removals, {_CERTIFICATES // _USERS} of {_CERTIFICATES:,} certificates"
        f" each; Keystone itself takes {1000 * median(x.answered for x in found):.0f} ms of it",
    )


class _Hosts:
    """Whoever asks for an authority's list again and again."""

    def __init__(self, *, tatu: CloudTatu, authority: str) -> None:
        self._tatu = tatu
        self._path = f"/v2/authorities/{authority}/krl"
        self._etag = ""
        self._list = tatu.folder / "krl"
        self._ask()

    def wait(self, serials: Collection[int]) -> float:
        """Wait until the list has these serials; return when it came, as `perf_counter` tells."""
        until = time.perf_counter() + _PATIENCE
        while time.perf_counter() < until:
            if self._ask():
                came = time.perf_counter()
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
def _worker(tatu: CloudTatu) -> Iterator[subprocess.Popen[bytes]]:
    """Keep `tatu-worker` running inside of the block, from its first comparison on."""
    log = tatu.folder / "worker.log"
    command = [str(Path(sys.executable).with_name("tatu-worker"))]
    with running(
        [*command, "--config-file", str(tatu.config)],
        log=log,
        ready=lambda: all(said in log.read_text() for said in ('"working"', '"reconciled"')),
        patience=_PATIENCE,
    ) as process:
        yield process
