"""What is waited for on a real host: to enrol, to log in, and to become root."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median
from uuid import uuid4

from tests.lab.hosts.fleet import Fleet, Host
from tests.lab.hosts.tatu import Person, Project, Tatu

from bench.report import Context, Row

_SECTION = "waiting"
_PAM = "/etc/pam.d/sshd"
_HOOK = "tatu-agent/session"
_PROOF = "[authority]\npam_sudo = true\n"
_SUDO = """\
for i in $(seq {runs}); do
    began=$(date +%s%N); sudo true || exit 1; echo $(($(date +%s%N) - began))
done
"""


def measure(context: Context) -> Iterator[Row]:
    """Boot instances one after the other, and use one as people do."""
    folder = context.folder / "waits"
    with ExitStack() as stack:
        fleet = stack.enter_context(Fleet.start(folder / "fleet"))
        tatu = stack.enter_context(Tatu.start(fleet, folder / "tatu", _PROOF))
        project = tatu.project()
        context.say("waiting: booting")
        *others, host = (_boot(fleet, project) for _ in range(context.runs))
        taken = [_enrolled_after(each) for each in (*others, host)]
        for other in others:
            other.cut_power()
        yield Row(
            section=_SECTION,
            name="boot: from sshd's start until an instance is enrolled",
            unit="s",
            runs=taken,
            goal=3,
            note=f"by Nova's vendordata on a config drive; at most {max(taken):.1f} s",
        )
        person = project.person("bob", "member", "admin")
        person.certify()
        yield from _logins(context, person, host)
        yield from _sudo(context, person, host)


def _boot(fleet: Fleet, project: Project) -> Host:
    host = fleet.new(str(uuid4()))
    project.trust(host)
    host.boot_drive(project.instance(host, "bench"))
    host.boot()
    host.wait()
    host.wait_until(host.enrolled_at, "it does not enrol")
    return host


def _enrolled_after(host: Host) -> float:
    return host.enrolled_at() - host.said_at("ssh", "Server listening")


def _logins(context: Context, person: Person, host: Host) -> Iterator[Row]:
    """Log in with the session hook and without, by turns: the machine does not stay alike."""
    context.say("waiting: logging in")
    with_hook = host.run(["cat", _PAM]).stdout
    lines = with_hook.splitlines(keepends=True)
    without = "".join(line for line in lines if _HOOK not in line)
    if without == with_hook:
        raise RuntimeError(f"{_PAM} has no session hook")
    taken: dict[str, list[float]] = {with_hook: [], without: []}
    for _ in range(10 * context.runs):
        for text, times in taken.items():
            host.write(_PAM, text)
            began = time.monotonic()
            login = person.ssh(host, "member", "true")
            times.append(1000 * (time.monotonic() - began))
            if login.returncode:
                raise RuntimeError(f"a login failed: {login.stderr}")
    host.write(_PAM, with_hook)
    yield Row(
        section=_SECTION,
        name="login: what the session hook adds",
        unit="ms",
        runs=[one - other for one, other in zip(*taken.values(), strict=True)],
        goal=20,
        note=f"a login takes {median(taken[with_hook]):.0f} ms with it",
    )


def _sudo(context: Context, person: Person, host: Host) -> Iterator[Row]:
    context.say("waiting: sudo")
    script = _SUDO.format(runs=10 * context.runs)
    said = person.run("ssh", f"admin@{host.name}", "--", script).stdout
    yield Row(
        section=_SECTION,
        name="sudo by proof",
        unit="ms",
        runs=[int(line) / 1e6 for line in said.split()],
        goal=300,
        note="with sudo itself, and the agent at the other end",
    )
