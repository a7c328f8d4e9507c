"""Comparing the ledger with a whole cloud: 1,000 projects with 20 users each."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from bench import cloud, crowd
from bench.cloud import ROLE, CloudTatu
from bench.processes import cpu_seconds
from bench.report import Context, Row
from tatu import bootstrap
from tatu.service.reconcile import Report

_SECTION = "reconcile"
_PROJECTS = 1000
_USERS = 20
_LOST = 20
"""Users of as many projects who lose their role before each run; no worker hears of it."""

_SECONDS = 60.0
_RUNS = 3  # half a minute each


def measure(context: Context) -> Iterator[Row]:
    """Compare, with some losses to be found each time."""
    with ExitStack() as stack:
        lab = stack.enter_context(cloud.lab(context, "reconcile"))
        tatu = CloudTatu(folder=context.folder / "reconcile", lab=lab)
        tatu.prepare()
        context.say(f"reconcile: making {_PROJECTS:,} projects with {_USERS} users each")
        members = crowd.people(lab, projects=_PROJECTS, users=_USERS)
        crowd.certify(tatu, members, each=1)
        reports: list[Report] = []
        questions: list[int] = []
        processor: list[float] = []
        own: list[float] = []
        losing = random.Random(1).sample(sorted(members), _LOST * _RUNS)
        for run in range(min(context.runs, _RUNS)):
            context.say("reconcile: comparing")
            some = losing[run * _LOST : (run + 1) * _LOST]
            for project in some:  # by its API: Keystone would go on with what it looked up before
                tatu.cloud.unassign(ROLE, f"projects/{project}", user=members[project][0])
            before = len(lab.requests("keystone"))
            busy, own_busy = cpu_seconds(os.getpid()), time.process_time()
            with tatu.opened() as application:
                reports.append(bootstrap.reconciliation(application).run())
            processor.append(cpu_seconds(os.getpid()) - busy)
            own.append(time.process_time() - own_busy)
            questions.append(len(lab.requests("keystone")) - before)
            _check(reports[-1])
    yield Row(
        section=_SECTION,
        name=f"{_PROJECTS:,} projects, {_USERS} users with a certificate in each",
        unit="s",
        runs=[report.duration.total_seconds() for report in reports],
        goal=_SECONDS,
        note=f"{_LOST} users had lost their role: each found, confirmed, and revoked",
    )
    yield Row(
        section=_SECTION,
        name="questions to Keystone",
        unit="",
        runs=questions,
        note="counted in its own log: the first 25 projects one by one, then all that was assigned"
        " at once; one for each 1,000 projects or users; a few for each loss",
    )
    yield Row(
        section=_SECTION,
        name="processor time of Keystone and Tatu",
        unit="s",
        runs=processor,
        note=f"Tatu's own: {median(own):.0f} s",
    )


def _check(report: Report) -> None:
    """A comparison that found anything else has compared something else."""
    if (report.found, report.applied, report.unjudged, report.troubles) != (_LOST, _LOST, 0, ()):
        raise RuntimeError(f"the comparison is wrong: {report}")
