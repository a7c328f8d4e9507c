"""Hosts that ask whether anything is new: conditional GETs, on one core."""

import os
from collections.abc import Iterator
from http.client import HTTPConnection
from statistics import median

from bench import load
from bench.processes import cpu_seconds
from bench.report import Context, Row
from bench.tatu import Tatu


def measure(context: Context) -> Iterator[Row]:
    """Ask for what is known already, again and again; the server has one core to itself."""
    context.say("conditional: GETs with If-None-Match")
    folder = context.folder / "conditional"
    tatu = Tatu(folder=folder, database=f"sqlite:///{folder}/tatu.db")
    tatu.prepare()
    cpus = sorted(os.sched_getaffinity(0))
    with tatu.serving(cpus=frozenset(cpus[:1])) as process:
        authority = tatu.caller().authority
        for what in ("krl", "statement"):
            path = f"/v2/authorities/{authority}/{what}"
            request = load.request("GET", path, headers=[f"If-None-Match: {_etag(tatu, path)}"])
            job = load.Job(
                port=tatu.port, requests=[request], seconds=context.seconds, expected=304
            )
            load.run(job)  # warms up
            reports, rates = [], []
            for _ in range(context.runs):
                before = cpu_seconds(process.pid)
                reports.append(load.run(job))
                rates.append(reports[-1].answered / (cpu_seconds(process.pid) - before))
            yield Row(
                section="conditional GET",
                name=f"{what}, 304, for each second of one core",
                unit="/s",
                runs=rates,
                goal=5000,
                more_is_better=True,
                p50=median(report.p50 for report in reports),
                p99=median(report.p99 for report in reports),
                note=f"{median(report.rate for report in reports):,.0f}/s by the clock,"
                " while a second core made the load",
            )


def _etag(tatu: Tatu, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", tatu.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    etag = answer.headers["ETag"]
    if answer.status != 200 or etag is None:
        raise RuntimeError(f"GET {path}: {answer.status}, ETag {etag}")
    return str(etag)
