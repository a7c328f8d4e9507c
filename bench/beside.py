"""Tatu and others in the same run, in turn: durable SSH user certificates a second."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import median

from bench.issue import CONNECTIONS, Kind, deployment
from bench.load import Job, Report, run
from bench.peers import NO_OPENBAO, STEP_CA, NoPeer, StepCa
from bench.report import Context, Row

_TIMES = 2.0
_SECTION = "beside others"
_PEER_RATE = 6000  # one-time tokens made for each second of load: more than it can use


@dataclass(frozen=True, kw_only=True)
class Round:
    """What each answered in one round."""

    tatu: Report
    step_ca: Report


def measure(context: Context) -> Iterator[Row]:
    """Ask Tatu on SQLite and step-ca in turn, with the same load."""
    context.say("beside: building and preparing others")
    yield Row(section=_SECTION, name="OpenBao", unit="/s", runs=[], note=NO_OPENBAO)
    try:
        peer = StepCa.prepared(context.folder / "step-ca")
    except NoPeer as error:
        yield Row(section=_SECTION, name="step-ca", unit="/s", runs=[], note=str(error))
        return
    version = STEP_CA.rpartition("@")[2]
    context.facts["step-ca"] = version
    with ExitStack() as stack:
        tatu = stack.enter_context(deployment(context, Kind(name="SQLite", workers=1), "beside"))
        stack.enter_context(tatu.serving())
        stack.enter_context(peer.serving())
        job = Job(
            port=tatu.port,
            requests=tatu.caller().single(),
            seconds=context.seconds,
            connections=CONNECTIONS,
        )
        context.say("beside: Tatu and step-ca in turn")
        rounds = [_round(job, peer) for _ in range(context.runs + 1)][1:]  # the first warms up
    step, ours = [one.step_ca for one in rounds], [one.tatu for one in rounds]
    for name, reports, note in (
        (f"step-ca {version}", step, "badger, synced writes; JWK one-time tokens; TLS"),
        ("Tatu", ours, "SQLite, synchronous=FULL; bearer token and proof of possession"),
    ):
        yield Row(
            section=_SECTION,
            name=name,
            unit="/s",
            runs=[report.rate for report in reports],
            more_is_better=True,
            p50=median(report.p50 for report in reports),
            p99=median(report.p99 for report in reports),
            note=note,
        )
    yield Row(
        section=_SECTION,
        name="Tatu to the faster of the others",
        unit="times",
        runs=[one.tatu.rate / one.step_ca.rate for one in rounds],
        goal=_TIMES,
        more_is_better=True,
    )


def _round(job: Job, peer: StepCa) -> Round:
    tokens = peer.requests(int(_PEER_RATE * job.seconds))
    other = replace(job, port=peer.port, requests=tokens, tls=True, single_use=True)
    return Round(tatu=run(job), step_ca=run(other))
