"""`make bench`: take the measurements and print them in one table.

Verdicts are for the reader: a goal that is missed does not fail the command, a measurement that
cannot be taken does.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import (
    beside,
    boots,
    comparing,
    conditional,
    fleet,
    footprint,
    hosts,
    issue,
    krl,
    losses,
    report,
    tokens,
    waits,
)
from bench.report import Context, Row

MEASUREMENTS = {
    "issue": issue.measure,
    "beside": beside.measure,
    "krl": krl.measure,
    "conditional": conditional.measure,
    "footprint": footprint.measure,
    "tokens": tokens.measure,
    "boots": boots.measure,
    "losses": losses.measure,
    "reconcile": comparing.measure,
    "fleet": fleet.measure,
    "hosts": hosts.measure,
    "waits": waits.measure,
}
OUTPUT = Path("build/bench.json")


def main() -> int:
    """Take the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="take this one only")
    parser.add_argument("--quick", action="store_true", help="two short runs of each: a rehearsal")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="the disk to measure")
    parser.add_argument(
        "--markdown", action="store_true", help="measure nothing: show the last run in Markdown"
    )
    given = parser.parse_args()
    if given.markdown:
        sys.stdout.write(report.markdown(OUTPUT))
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=given.folder)).absolute()
    context = Context(
        folder=folder,
        runs=2 if given.quick else 5,
        seconds=1.0 if given.quick else 3.0,
        say=lambda text: print(f"… {text}", file=sys.stderr, flush=True),
        facts=report.machine(folder),
    )
    rows: list[Row] = []
    try:
        for name in given.only or MEASUREMENTS:
            rows.extend(MEASUREMENTS[name](context))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        context.facts["load average after"] = f"{os.getloadavg()[0]:.2f}"
        report.show(rows, context.facts)
        report.write(rows, context.facts, OUTPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
