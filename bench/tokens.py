"""Certificates for whoever brings a token of Keystone, beside those of the embedded identity."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median

from bench import cloud
from bench.cloud import CloudTatu
from bench.issue import Kind, all_kept, deployment, rows
from bench.load import Job, run
from bench.report import Context, Row
from bench.tatu import Caller

_SECTION = "tokens of Keystone"
_SHARE = 80.0
_COLD = 10  # times the runs: one costs some milliseconds


def measure(context: Context) -> Iterator[Row]:
    """Ask two deployments in turn, both on SQLite; then bring tokens that were never seen."""
    with ExitStack() as stack:
        lab = stack.enter_context(cloud.lab(context, "tokens"))
        ours = CloudTatu(folder=context.folder / "tokens", lab=lab)
        ours.prepare()
        kind = Kind(name="SQLite", workers=1)
        embedded = stack.enter_context(deployment(context, kind, "embedded"))
        stack.enter_context(ours.serving())
        stack.enter_context(embedded.serving())
        context.say("tokens: Keystone's and the embedded identity in turn")
        caller, other = ours.caller(), embedded.caller()
        job = Job(port=ours.port, requests=caller.single(), seconds=context.seconds)
        other_job = Job(port=embedded.port, requests=other.single(), seconds=context.seconds)
        run(job), run(other_job)  # warms both up
        before = rows(ours)
        pairs = [(run(job), run(other_job)) for _ in range(context.runs)]
        reports = [report for report, _ in pairs]
        all_kept(ours, before, reports)
        rate = median(report.rate for _, report in pairs)
        yield Row(
            section=_SECTION,
            name="user certificates, as fast as it can",
            unit="/s",
            runs=[report.rate for report in reports],
            more_is_better=True,
            p50=median(report.p50 for report in reports),
            p99=median(report.p99 for report in reports),
            note="SQLite; one token, asked about once a minute",
        )
        yield Row(
            section=_SECTION,
            name="share of the rate with the embedded identity",
            unit="%",
            runs=[100 * one.rate / two.rate for one, two in pairs],
            goal=_SHARE,
            more_is_better=True,
            note=f"embedded: {rate:,.0f}/s",
        )
        context.say("tokens: cold ones")
        found = [_cold(ours, caller) for _ in range(_COLD * context.runs)]
    yield Row(
        section=_SECTION,
        name="questions to Keystone for a cold token",
        unit="",
        runs=[max(each.questions for each in found)],
        goal=1,
        note=f"the most of {len(found)} tokens, counted in Keystone's own log",
    )
    added = sorted(1000 * (each.cold - each.warm) for each in found)
    yield Row(
        section=_SECTION,
        name="what a cold token adds to its first certificate",
        unit="ms",
        runs=added,
        p50=median(added),
        p99=added[len(added) * 99 // 100],
        note=f"with a token known already: {1000 * median(each.warm for each in found):.1f} ms",
    )


@dataclass(frozen=True, kw_only=True)
class _Cold:
    """What a token's first certificate cost: seconds, those of its second one, and questions."""

    cold: float
    warm: float
    questions: int


def _cold(tatu: CloudTatu, caller: Caller) -> _Cold:
    token = tatu.cloud.token(caller.subject, project_id=caller.authority)
    bodies = caller.bodies(2)
    before = len(tatu.lab.requests("keystone"))
    connection = HTTPConnection("127.0.0.1", tatu.port, timeout=30)
    try:
        connection.connect()
        cold = _seconds(connection, caller, token, bodies[0])
        questions = len(tatu.lab.requests("keystone")) - before
        return _Cold(
            cold=cold,
            warm=_seconds(connection, caller, token, bodies[1]),
            questions=questions,
        )
    finally:
        connection.close()


def _seconds(
    connection: HTTPConnection, caller: Caller, token: str, body: dict[str, str]
) -> float:
    headers = {**caller.tatu.credentials(token), "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", caller.certificates, json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    taken = time.perf_counter() - began
    if answer.status != 201:
        raise RuntimeError(f"POST {caller.certificates}: {answer.status} {text}")
    return taken
