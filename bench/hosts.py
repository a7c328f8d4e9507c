"""Real hosts: what an idle agent costs, and how soon the sessions of a revoked certificate end."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.lab.hosts.fleet import Fleet
from tests.lab.hosts.tatu import Tatu

from bench.report import Context, Row

_SECTION = "hosts"
_HOSTS = 16
_SESSIONS = 200
_AT_ONCE = 8
_IDLE = 300.0
"""Seconds: some statements are signed anew meanwhile, and one is proven."""

_PATIENCE = 60.0
_SECONDS = 5.0


def measure(context: Context) -> Iterator[Row]:
    """Boot hosts, enrol them, let them be; then log in, and revoke."""
    quick = context.runs < 5
    count, sessions = (4, 24) if quick else (_HOSTS, _SESSIONS)
    folder = context.folder / "hosts"
    folder.mkdir()
    with Fleet.start(folder) as fleet, ExitStack() as stack:
        tatu = stack.enter_context(Tatu.start(fleet, folder / "tatu"))
        project = tatu.project()
        context.say(f"hosts: booting {count}")
        hosts = fleet.boot(*(f"host-{number}" for number in range(count)))
        for host in hosts:
            project.enrol(host)
            host.start_loop()
        context.say("hosts: idle agents")
        yield from _idle(hosts, _IDLE / 5 if quick else _IDLE)
        context.say(f"hosts: {sessions} sessions")
        yield _revoked(project, hosts, sessions)
    shutil.rmtree(folder, ignore_errors=True)


def _idle(hosts: Sequence[Any], seconds: float) -> Iterator[Row]:
    time.sleep(10)  # what follows an enrolment is done
    before = [_used(host) for host in hosts]
    begun = time.monotonic()
    time.sleep(seconds)  # what is measured is that nothing happens
    took = time.monotonic() - begun
    shares = [100 * (_used(host) - used) / took for host, used in zip(hosts, before, strict=True)]
    yield Row(
        section=_SECTION,
        name="an agent starts, and proves all that is in place, as it does once an hour",
        unit="s of a core",
        runs=before,
    )
    yield Row(
        section=_SECTION,
        name="an idle agent: processor time in between, with all that it starts",
        unit="% of a core",
        runs=shares,
        goal=0.1,
        note=f"{len(hosts)} hosts, {took:.0f} s",
    )
    yield Row(
        section=_SECTION,
        name="an idle agent: memory (RSS)",
        unit="MiB",
        runs=[_memory(host) for host in hosts],
        goal=30,
    )


def _used(host: Any) -> float:
    """Return the seconds of processor time that the loop and its children used."""
    shown = host.run(["systemctl", "show", "tatu-loop", "--property=CPUUsageNSec"]).stdout
    return int(shown.partition("=")[2]) / 1e9


def _memory(host: Any) -> float:
    pid = host.run(["systemctl", "show", "tatu-loop", "--property=MainPID"]).stdout
    status = host.run(["cat", f"/proc/{pid.partition('=')[2].strip()}/status"]).stdout
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _revoked(project: Any, hosts: Sequence[Any], sessions: int) -> Row:
    """Open sessions by two people's certificates, revoke one, and see which end."""
    loser, other = project.person("loser", "member"), project.person("other", "member")
    serial = loser.certify()["serial"]
    other.certify()
    half = sessions // 2
    with (
        _sessions(project, loser, hosts, half) as ending,
        _sessions(project, other, hosts, half) as staying,
    ):
        begun = time.monotonic()
        project.admin.run("usercert", "revoke", serial, "--reason", "bench")
        asked = time.monotonic() - begun
        deadline = begun + _PATIENCE
        ends: dict[int, float] = {}
        while len(ends) < half and time.monotonic() < deadline:
            for session in ending:
                if session.pid not in ends and session.poll() is not None:
                    ends[session.pid] = time.monotonic() - begun
            time.sleep(0.01)
        left = sum(session.poll() is None for session in staying)
    taken = sorted(ends.values())
    return Row(
        section=_SECTION,
        name=f"{sessions} live sessions, one certificate revoked: until the last of its ended",
        unit="s",
        runs=taken[-1:] if len(taken) == half else [],
        goal=_SECONDS,
        p50=1000 * taken[len(taken) // 2] if taken else None,
        p99=1000 * taken[len(taken) * 99 // 100] if taken else None,
        note=f"{len(taken)} of {half} ended, {left} of {half} by the other certificate live on;"
        f" {asked:.1f} s of it is the command",
    )


@contextmanager
def _sessions(
    project: Any, person: Any, hosts: Sequence[Any], count: int
) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    try:
        while len(started) < count:
            some = [
                _session(project, person, hosts[(len(started) + place) % len(hosts)])
                for place in range(min(_AT_ONCE, count - len(started)))
            ]
            started += some
            for session in some:
                assert session.stdout
                if session.stdout.readline() != "in\n":
                    raise RuntimeError("somebody could not log in")
        yield started
    finally:
        for session in started:
            session.kill()
            session.wait()
            if session.stdout:
                session.stdout.close()


def _session(project: Any, person: Any, host: Any) -> subprocess.Popen[str]:
    command = person.ssh_command(host, "member", "echo in; sleep 1000")
    with project.tatu.fleet.inside():
        return subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
