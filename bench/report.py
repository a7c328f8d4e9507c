"""Rows of the table, their verdicts, and what they were measured on."""

import json
import math
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement: the median of its runs, held to a goal if there is one.

    `value` is NaN for what could not be measured; `note` then says why.
    """

    section: str
    name: str
    unit: str
    runs: Sequence[float]
    goal: float | None = None
    more_is_better: bool = False
    p50: float | None = None
    p99: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the runs."""
        return statistics.median(self.runs) if self.runs else math.nan

    @property
    def verdict(self) -> str:
        """How the value stands to its goal."""
        if not self.runs:
            return "not measured"
        if self.goal is None:
            return ""
        missing = (self.goal - self.value) if self.more_is_better else (self.value - self.goal)
        if missing <= 0:
            return "met"
        return f"short by {100 * missing / self.goal:.0f} %" if self.goal else "not met"

    def told(self) -> dict[str, object]:
        """Return what the JSON says of it."""
        return {
            "section": self.section,
            "name": self.name,
            "unit": self.unit,
            "median": None if math.isnan(self.value) else self.value,
            "runs": list(self.runs),
            "goal": self.goal,
            "more_is_better": self.more_is_better,
            "verdict": self.verdict,
            "p50_ms": self.p50,
            "p99_ms": self.p99,
            "note": self.note,
        }


@dataclass(kw_only=True)
class Context:
    """What every measurement is given."""

    folder: Path
    runs: int
    seconds: float
    say: Callable[[str], None]
    facts: dict[str, str] = field(default_factory=dict)


def number(value: float | None) -> str:
    """Return a number as people read it: three digits that count."""
    if value is None or math.isnan(value):
        return "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{min(digits, 3)}f}"


def show(rows: Sequence[Row], facts: dict[str, str]) -> None:
    """Print the table, and what it was measured on."""
    table = Table(title="Tatu, measured", show_lines=False)
    for title in ("", "", "median", "p50 ms", "p99 ms", "goal", "verdict", "note"):
        right = title in ("median", "p50 ms", "p99 ms", "goal")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    section = ""
    for row in rows:
        if row.section != section and section:
            table.add_section()
        sign = "≥" if row.more_is_better else "≤"
        table.add_row(
            row.section if row.section != section else "",
            row.name,
            f"{number(row.value)} {row.unit}",
            "" if row.p50 is None else number(row.p50),
            "" if row.p99 is None else number(row.p99),
            "" if row.goal is None else f"{sign} {number(row.goal)}",
            row.verdict,
            row.note,
        )
        section = row.section
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(table)
    console.print(" · ".join(f"{name}: {value}" for name, value in facts.items()))


def write(rows: Sequence[Row], facts: dict[str, str], path: Path) -> None:
    """Write the same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"machine": facts, "rows": [row.told() for row in rows]}
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def markdown(path: Path) -> str:
    """Return what the JSON tells as docs/performance.md shows it."""
    told = json.loads(path.read_text())
    lines = [f"{name}: {value}" for name, value in told["machine"].items()]
    head = "| what | median | p50 ms | p99 ms | goal | verdict | note |"
    lines = [" · ".join(lines), "", head, "|---|--:|--:|--:|--:|---|---|"]
    section = ""
    for row in told["rows"]:
        if row["section"] != section:
            section = row["section"]
            lines.append(f"| **{section}** | | | | | | |")
        sign = "≥" if row["more_is_better"] else "≤"
        cells = (
            row["name"],
            f"{number(row['median'])} {row['unit']}",
            "" if row["p50_ms"] is None else number(row["p50_ms"]),
            "" if row["p99_ms"] is None else number(row["p99_ms"]),
            "" if row["goal"] is None else f"{sign} {number(row['goal'])}",
            row["verdict"],
            row["note"],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def machine(folder: Path) -> dict[str, str]:
    """Return what the numbers depend on."""
    return {
        "CPU": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "OpenSSH": _version("ssh", "-V").split(",")[0],
        "fdatasync p50": f"{fdatasync(folder):.3f} ms",
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def fdatasync(folder: Path, times: int = 500) -> float:
    """Return the median milliseconds of writing 4 KiB to disk."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            start = time.perf_counter()
            os.pwrite(file.fileno(), os.urandom(4096), 0)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Return the seconds that each of some runs took."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return taken
