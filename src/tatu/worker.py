"""`tatu-worker`: acts on what the cloud tells, and compares the ledger with the cloud.

Many may run at once: they share what is told. Stops on SIGTERM, when nothing is being handled; on
SIGHUP it reads the log level anew. With `--check` it only says whether it could work. Exit codes:
0 stopped, or all is well; 1 cannot work; 2 wrong configuration.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog
from oslo_config import cfg

from tatu import bootstrap, logs
from tatu.bootstrap import Application
from tatu.config import Config, load
from tatu.core.errors import TatuError

LOG = structlog.get_logger("tatu.worker")

_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
_FLAGS = (cfg.BoolOpt("check", default=False, help="Only say whether it could work."),)
_SWEEP = timedelta(seconds=5)
"""How long a loss that could not be swept waits for the next attempt."""

_GRACE = timedelta(seconds=5)
"""How long a sweep or comparison may go on when the worker stops: the next one begins anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until told to stop; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = load(
            given,
            flags=_FLAGS,
            description="Hears what a cloud tells, compares it with the ledger, and revokes.",
        )
        bootstrap.check_config(config)
    except TatuError as error:
        return _failed(2, error)
    logs.configure(config.log_level)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # also in all threads that are started
    try:
        return _run(config, given)
    except TatuError as error:
        return _failed(1, error)


def _run(config: Config, given: Sequence[str]) -> int:
    ledger = bootstrap.open_ledger(config)
    try:
        application = bootstrap.build(config, ledger)
        checks = {**application.checks, "events": application.events.check}
        if config.conf.check:
            return _check(checks)
        ledger.check()
        Worker(application).work(given)
    finally:
        ledger.close()
    return 0


class Worker:
    """Acts on what the cloud tells, sweeps what losses leave, and mends what was not told."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._stopping = False
        self._lost = threading.Event()
        self._later = threading.Event()
        self._stopped = threading.Event()
        self._out_of_sight: set[str] = set()

    def work(self, given: Sequence[str]) -> None:
        """Work until a signal says to stop."""
        application, reconcile = self._application, self._application.config.reconcile
        notices = bootstrap.notices(application, lost=self._lost.set, later=self._later.set)
        threads = [
            threading.Thread(target=self._repeat, args=args, name=f"tatu-{args[0]}", daemon=True)
            for args in (
                ("sweep", self._sweep, self._lost, _SWEEP),
                ("catch-up", notices.catch_up, self._later, _SWEEP),
                (
                    "reconcile",
                    bootstrap.reconciliation(application).watch,
                    self._stopped,
                    reconcile.interval,
                ),
                ("look-around", self._look_around, self._stopped, reconcile.interval),
            )
        ]
        for thread in threads:
            thread.start()
        application.events.start(notices)
        LOG.info("working")
        while signal.sigwait(_SIGNALS) == signal.SIGHUP:
            _reload(given)
        LOG.info("stopping")
        application.events.stop()
        self._stopping = True
        self._stopped.set()
        self._lost.set()
        self._later.set()
        until = time.monotonic() + _GRACE.total_seconds()
        for thread in threads:
            thread.join(max(0, until - time.monotonic()))
        LOG.info("stopped")

    def _sweep(self) -> timedelta | None:
        revocation = self._application.revocation
        revocation.sweep()
        return revocation.due()

    def _look_around(self) -> None:
        """Tell, once, of each domain that came after Tatu was registered."""
        for domain in self._application.out_of_sight():
            if domain not in self._out_of_sight:
                self._out_of_sight.add(domain)
                LOG.warning("domain.out-of-sight", domain=domain)

    def _repeat(
        self,
        name: str,
        act: Callable[[], timedelta | None],
        due: threading.Event,
        pause: timedelta,
    ) -> None:
        """Do it now, when it is due, and after each pause, or the shorter one that it asks for."""
        while not self._stopping:
            wait = pause
            try:
                wait = min(pause, act() or pause)
            except TatuError as error:
                LOG.warning(name, error=str(error))
            except Exception:  # a mistake in one round must not be the end of all that follow
                LOG.exception(name)
            due.wait(wait.total_seconds())
            if not self._stopping:  # others may wait for the same word
                due.clear()


def _check(checks: Mapping[str, Callable[[], None]]) -> int:
    failed = 0
    for name, check in checks.items():
        try:
            check()
        except TatuError as error:
            failed += 1
            sys.stderr.write(f"tatu-worker: {name}: {error}\n")
    return int(failed > 0)


def _reload(given: Sequence[str]) -> None:
    try:
        logs.configure(load(given, flags=_FLAGS).log_level)
    except TatuError as error:
        LOG.warning("reload", error=str(error))
    else:
        LOG.info("reload")


def _failed(code: int, error: Exception) -> int:
    sys.stderr.write(f"tatu-worker: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
