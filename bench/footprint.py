"""What Tatu costs beside its work: memory, starting, and what it adds to a login."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from demo.__main__ import HOST, PRINCIPAL, agent
from demo.machine import ADMINISTRATOR, PROJECT, Machine, account, free_port

from bench.load import Job, run
from bench.processes import rss, tree
from bench.report import Context, Row
from bench.tatu import Tatu

_MB = 1_000_000
_LOGINS = 4  # times the runs: a login is 200 ms of other programs, and varies with them


def measure(context: Context) -> Iterator[Row]:
    """Start things, load one of them, and log in."""
    context.say("footprint: starting, memory")
    yield from _server(context)
    yield _help(context)
    context.say("footprint: logins")
    yield _login(context)


def _server(context: Context) -> Iterator[Row]:
    folder = context.folder / "footprint"
    tatu = Tatu(folder=folder, database=f"sqlite:///{folder}/tatu.db")
    tatu.prepare()
    starts = []
    for _ in range(context.runs):
        began = time.perf_counter()
        with tatu.serving():
            starts.append(time.perf_counter() - began)
    yield Row(
        section="footprint",
        name="cold start: from spawning tatu-api to the first /readyz",
        unit="s",
        runs=starts,
        goal=1.5,
        note="SQLite",
    )
    sizes, others = [], []
    for _ in range(context.runs):
        with tatu.serving() as process:
            requests = tatu.caller().single()
            run(Job(port=tatu.port, requests=requests, seconds=context.seconds, connections=64))
            found = sorted(rss(one) for one in tree(process.pid))
        sizes.append(found[-1] / _MB)
        others.append(sum(found[:-1]) / _MB)
    yield Row(
        section="footprint",
        name="memory (RSS) of the API process after load",
        unit="MB",
        runs=sizes,
        goal=120,
        note=f"its supervisor and helpers: {median(others):.0f} MB more, partly shared",
    )


def _help(context: Context) -> Row:
    command = [str(Path(sys.executable).with_name("tatu")), "--help"]

    def show() -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    show()
    return Row(
        section="footprint",
        name="tatu --help",
        unit="s",
        runs=[_seconds(show) for _ in range(2 * context.runs)],
        goal=0.4,
    )


def _login(context: Context) -> Row:
    """Log in with `tatu ssh` and with the very ssh command that it becomes, in turn."""
    with ExitStack() as stack:
        machine = Machine(folder=context.folder / "login", api_port=free_port())
        machine.prepare()
        stack.enter_context(machine.api())
        port = free_port()
        stack.enter_context(machine.sshd(port, PRINCIPAL))
        machine.run(
            *("tatu", "login", "--url", machine.url, "--user", ADMINISTRATOR),
            *("--project", PROJECT, "--key", str(machine.admin_key)),
        )
        token = machine.run(
            *("tatu", "token", "create", HOST, "--address", "127.0.0.1"),
            *("--format", "value", "--column", "token"),
        )
        agent(machine, "enrol", "--token-file", "-", text=token)
        machine.run("tatu", "usercert", "create")
        target = f"{account()}@127.0.0.1"
        batch = ("-p", str(port), "-o", "BatchMode=yes", "true")
        ours = ["tatu", "ssh", target, "--", *batch]
        machine.run(*ours)  # learns of the host
        plain = _short_way(machine, target, batch)
        pairs = [
            (_seconds(lambda: machine.run(*ours)), _seconds(lambda: machine.run(*plain)))
            for _ in range(_LOGINS * context.runs)
        ]
    return Row(
        section="footprint",
        name="what tatu ssh adds to a login with a valid certificate",
        unit="s",
        runs=[one - other for one, other in pairs],
        goal=0.2,
        note=f"the same ssh alone: {median(other for _, other in pairs):.3f} s",
    )


def _short_way(machine: Machine, target: str, arguments: tuple[str, ...]) -> list[str]:
    told = machine.run(
        sys.executable,
        "-c",
        "import json, sys; from tatu.client import ready;"
        "print(json.dumps(ready.short_way(None, sys.argv[1], sys.argv[2:])))",
        target,
        *arguments,
    )
    command: list[str] | None = json.loads(told)
    if command is None:
        raise RuntimeError("tatu ssh goes the long way, although nothing is due")
    return command


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
