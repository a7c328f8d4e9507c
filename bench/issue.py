"""User certificates a second: every answer's row is committed."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import text

from bench import postgres
from bench.load import Job, Report, run
from bench.processes import cpu_seconds
from bench.report import Context, Row
from bench.tatu import Caller, Tatu
from tatu.store.database import make_engine

CONNECTIONS = 32
DELAY = 0.002
_SHARE = 60.0
_P99 = 20.0
_BATCH = 100


class Lost(Exception):
    """Certificates were answered that the ledger does not have."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A database, with as many API processes as the goal names."""

    name: str
    workers: int
    delay: float = 0.0

    @property
    def section(self) -> str:
        """What the table says."""
        workers = "1 process" if self.workers == 1 else f"{self.workers} processes"
        slower = f", commits {1000 * self.delay:.0f} ms slower" if self.delay else ""
        return f"{self.name}, {workers}{slower}"

    @property
    def hooks(self) -> tuple[str, ...]:
        """How its server is launched."""
        return ("--commit-delay", str(self.delay)) if self.delay else ()


def measure(context: Context) -> Iterator[Row]:
    """Measure each database, without and with a disk that takes its time."""
    yield _ceiling(context)
    kinds = [Kind(name="SQLite", workers=1), Kind(name="PostgreSQL", workers=2)]
    for kind in kinds:
        for delay in (0.0, DELAY):
            yield from _measure(context, replace(kind, delay=delay))


def _measure(context: Context, kind: Kind) -> Iterator[Row]:
    context.say(f"issue: {kind.section}")
    with ExitStack() as stack:
        real = stack.enter_context(deployment(context, kind, "real"))
        fake = stack.enter_context(deployment(context, kind, "unwritten"))
        process = stack.enter_context(real.serving(*kind.hooks))
        stack.enter_context(fake.serving("--without-ledger-writes", *kind.hooks))
        asker, other = real.caller(), fake.caller()
        job = Job(port=real.port, requests=asker.single(), seconds=context.seconds)
        job_without = replace(job, port=fake.port, requests=other.single())
        run(replace(job, seconds=1.0)), run(replace(job_without, seconds=1.0))  # warm both up
        before, used = rows(real), cpu_seconds(process.pid)
        pairs = [(run(job), run(job_without)) for _ in range(context.runs)]
        written = [report for report, _ in pairs]
        used = (cpu_seconds(process.pid) - used) / sum(report.answered for report in written)
        all_kept(real, before, written)
        rates = [report.rate for report in written]
        yield Row(
            section=kind.section,
            name="user certificates, as fast as it can",
            unit="/s",
            runs=rates,
            more_is_better=True,
            p50=_median(written, "p50"),
            p99=_median(written, "p99"),
            note=f"{job.connections} connections; {1000 * used:.1f} ms of processor each",
        )
        without = statistics.median(report.rate for _, report in pairs)
        yield Row(
            section=kind.section,
            name="share of the rate with the ledger write left out",
            unit="%",
            runs=[100 * written.rate / unwritten.rate for written, unwritten in pairs],
            goal=_SHARE,
            more_is_better=True,
            note=f"left out: {without:,.0f}/s",
        )
        half = replace(job, rate=statistics.median(rates) / 2)
        reports = [run(half) for _ in range(context.runs)]
        yield Row(
            section=kind.section,
            name="p99 at half of that rate",
            unit="ms",
            runs=[report.p99 for report in reports],
            goal=_P99,
            p50=_median(reports, "p50"),
            p99=_median(reports, "p99"),
            note=f"at {half.rate:,.0f}/s",
        )
        yield from _batch(context, kind, real, asker)


def _batch(context: Context, kind: Kind, real: Tatu, asker: Caller) -> Iterator[Row]:
    job = Job(
        port=real.port,
        requests=asker.batch(_BATCH),
        seconds=context.seconds,
        connections=2,
        expected=200,
    )
    before = rows(real)
    reports = [run(job) for _ in range(context.runs)]
    all_kept(real, before, reports, each=_BATCH)
    yield Row(
        section=kind.section,
        name=f"in batches of {_BATCH}",
        unit="/s",
        runs=[_BATCH * report.rate for report in reports],
        more_is_better=True,
        p50=_median(reports, "p50"),
        p99=_median(reports, "p99"),
        note=f"{job.connections} connections; latencies of whole batches",
    )


@contextmanager
def deployment(context: Context, kind: Kind, name: str) -> Iterator[Tatu]:
    """Prepare a deployment on a fresh database of this kind."""
    folder = context.folder / f"issue-{kind.name}-{kind.delay}-{name}"
    with ExitStack() as stack:
        if kind.name == "SQLite":
            database = f"sqlite:///{folder}/tatu.db"
        else:
            context.facts["PostgreSQL"] = postgres.version()
            database = stack.enter_context(postgres.serving()).database("tatu")
        tatu = Tatu(folder=folder, database=database, workers=kind.workers)
        tatu.prepare()
        yield tatu


def rows(tatu: Tatu) -> int:
    """Count the certificates in a ledger."""
    engine = make_engine(tatu.database, pool_size=1)
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM certificates")).scalar_one())
    finally:
        engine.dispose()


def all_kept(tatu: Tatu, before: int, reports: list[Report], *, each: int = 1) -> None:
    """Hold the ledger to what was answered; a measurement of anything less is none."""
    answered, kept = each * sum(report.answered for report in reports), rows(tatu) - before
    if kept != answered:
        raise Lost(f"{answered} certificates were answered, and the ledger got {kept}")


def _median(reports: list[Report], field: str) -> float:
    return statistics.median(getattr(report, field) for report in reports)


def _ceiling(context: Context) -> Row:
    """Measure the load itself, on a server that does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load", "--echo"], stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(process.stdout.readline()) if process.stdout else 0
        request = f"POST / HTTP/1.1\r\n\r\n{'x' * 800}"
        job = Job(port=port, requests=[request], seconds=1.0, connections=CONNECTIONS)
        reports = [run(job) for _ in range(context.runs)]
    finally:
        process.kill()
        process.wait()
    return Row(
        section="load",
        name="what the load itself can ask",
        unit="/s",
        runs=[report.rate for report in reports],
        more_is_better=True,
        p50=_median(reports, "p50"),
        p99=_median(reports, "p99"),
        note="of a server that does nothing",
    )
