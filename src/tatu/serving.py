"""How a door is served: its port, its workers and their signals, on Granian."""

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.server import MPServer

from tatu import logs
from tatu.config import load
from tatu.core.errors import TatuError

LOG = structlog.get_logger("tatu.serve")

_PR_SET_PDEATHSIG = 1  # prctl(2)
_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
_LOGGING = {"handlers": {}, "formatters": {}, "loggers": {"_granian": {"propagate": True}}}


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where and how a program answers; `grace` is how many seconds requests have to end."""

    program: str
    interface: Interfaces
    host: str
    port: int
    tls: tuple[Path, Path] | None
    max_connections: int
    workers: int
    threads: int
    grace: int

    def serve(
        self, load_worker: Callable[[], Any], on_hangup: Callable[[], None] = lambda: None
    ) -> int:
        """Serve what each worker loads until told to stop; return the exit code.

        Workers reload on SIGHUP, and whatever `on_hangup` tells of it.
        """
        try:
            self._check_port()
        except OSError as error:
            return failed(self.program, 1, error)
        block_signals()  # also in all that is started
        server = MPServer(
            self.program,
            address=self.host,
            port=self.port,
            interface=self.interface,
            workers=self.workers,
            blocking_threads=self.threads,
            backlog=self.max_connections,
            backpressure=self.max_connections,
            http=HTTPModes.http1,
            websockets=False,
            log_dictconfig=_LOGGING,
            ssl_cert=self.tls[0] if self.tls else None,
            ssl_key=self.tls[1] if self.tls else None,
            workers_kill_timeout=self.grace,
        )

        def hangup() -> None:
            _hand_on()
            on_hangup()

        receive_signals(hangup)
        LOG.info("serving", host=self.host, port=self.port)
        try:
            server.serve(target_loader=load_worker, wrap_loader=False)
        except (OSError, RuntimeError) as error:
            return failed(self.program, 1, error)
        return 0

    def _check_port(self) -> None:
        """Raise OSError when the port is taken: Granian would share it with whoever has it."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((self.host, self.port))


def end_with(parent: int) -> None:
    """Stop when the parent dies, however: whoever outlives it would keep the ledger locked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def block_signals() -> None:
    """Leave all signals to the thread of `receive_signals`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def unblock_signals() -> None:
    """Take signals again: an event loop is woken by them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def receive_signals(on_hangup: Callable[[], None]) -> None:
    """Wait for signals in a thread, where all of them are blocked everywhere else.

    A handler in the main thread would wait for locks that it interrupted; and a signal that the
    kernel gives to another thread does not wake a main thread that waits for a lock.
    """

    def receive() -> None:
        while True:
            number = signal.sigwait(_SIGNALS)
            handler = signal.getsignal(number)
            if number == signal.SIGHUP:
                on_hangup()
            elif callable(handler):  # Granian's: it sets an event
                handler(number, None)

    threading.Thread(target=receive, name="tatu-signals", daemon=True).start()


def reload(arguments: Sequence[str]) -> None:
    """Read the log level anew."""
    try:
        logs.configure(load(arguments).log_level)
    except TatuError as error:
        LOG.warning("reload", error=str(error))
    else:
        LOG.info("reload")


def failed(program: str, code: int, error: Exception) -> int:
    """Say why a program ends, and return its exit code."""
    sys.stderr.write(f"{program}: {error}\n")
    return code


def _hand_on() -> None:
    """Let workers reload in place: on SQLite a second one could not start beside the first."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGHUP)
