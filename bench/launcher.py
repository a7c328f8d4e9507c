"""`tatu-api` with hooks that only measuring needs; nothing of this can be switched on in Tatu.

--without-ledger-writes   `record` returns at once: what everything but the ledger write costs
--commit-delay SECONDS    each commit takes that much longer: a disk that does not flatter
--profile FILE            where the processor time of requests and of the writer goes (cProfile)
"""

# ruff: noqa: SLF001 (a hook reaches where nothing of Tatu's own may)
import argparse
import cProfile
import functools
import multiprocessing.util
import pstats
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy import event as sql_event

from tatu import serve
from tatu.core.audit import Event
from tatu.ports import IssuedCertificate
from tatu.store.certificates import SqlCertificates
from tatu.store.writer import GroupWriter

_serve_worker = serve._worker


class Profiler:
    """Counts the processor time of threads; each has a profile of its own."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._mine = threading.local()
        self._all: list[cProfile.Profile] = []

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same work, counted."""

        @functools.wraps(work)
        def counted(*arguments: Any) -> Any:
            profile = getattr(self._mine, "profile", None)
            if profile is None:
                profile = self._mine.profile = cProfile.Profile(time.thread_time)
                self._all.append(profile)
            return profile.runcall(work, *arguments)

        return counted

    def dump(self) -> None:
        """Write what was counted, for `python -m pstats`."""
        stats = pstats.Stats(self._all[0])
        for profile in self._all[1:]:
            stats.add(profile)
        stats.dump_stats(self._file)


def _recorded(self: SqlCertificates, issued: IssuedCertificate, event: Event) -> None:
    """Leave the ledger write out."""


def worker(hooks: argparse.Namespace, arguments: tuple[str, ...]) -> Callable[..., Any]:
    """Build the API in a worker process, with the hooks in it."""
    if hooks.without_ledger_writes:
        SqlCertificates.record = _recorded  # type: ignore[method-assign]
    if hooks.commit_delay:
        sql_event.listen(Engine, "commit", lambda connection: time.sleep(hooks.commit_delay))
    if not hooks.profile:
        return _serve_worker(arguments)
    profiler = Profiler(hooks.profile)
    GroupWriter._settle = profiler.around(GroupWriter._settle)  # type: ignore[method-assign]
    application = _serve_worker(arguments)
    multiprocessing.util.Finalize(None, profiler.dump, exitpriority=2)
    return profiler.around(application)


def main() -> int:
    """Serve as `tatu-api` does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-ledger-writes", action="store_true")
    parser.add_argument("--commit-delay", type=float, default=0.0)
    parser.add_argument("--profile", default="")
    hooks, arguments = parser.parse_known_args()
    serve._worker = functools.partial(worker, hooks)
    return serve.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
