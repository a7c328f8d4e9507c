"""`tatu-api`: the API on Granian.

Stops gracefully on SIGTERM; on SIGHUP it reads the log level anew (policy files are always read
anew when they change). Exit codes: 0 stopped, 1 cannot serve, 2 wrong configuration.
"""

import ctypes
import functools
import multiprocessing
import multiprocessing.util
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.server import MPServer

from tatu import logs
from tatu.bootstrap import Server, check_config
from tatu.config import Config, load
from tatu.core.errors import Malformed, TatuError

LOG = structlog.get_logger("tatu.serve")

_PR_SET_PDEATHSIG = 1  # prctl(2)
_GRACE = 30
"""Seconds that requests have to end when the server stops."""

_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
_LOGGING = {"handlers": {}, "formatters": {}, "loggers": {"_granian": {"propagate": True}}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = load(given, description="Serves Tatu's API.")
        check_config(config)
        if config.database.embedded and config.api.workers > 1:
            raise Malformed("[api] workers must be 1 on SQLite: it has room for one process")
    except TatuError as error:
        return _failed(2, error)
    logs.configure(config.log_level)
    for warning in config.warnings:
        LOG.warning("insecure", why=warning)
    try:
        _check_port(config)
    except OSError as error:
        return _failed(1, error)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # also in all that is started
    server = _granian(config)
    _receive_signals(_hand_on)
    LOG.info("serving", host=config.api.bind_host, port=config.api.bind_port)
    try:
        server.serve(target_loader=functools.partial(_worker, tuple(given)), wrap_loader=False)
    except (OSError, RuntimeError) as error:
        return _failed(1, error)
    return 0


def _granian(config: Config) -> MPServer:
    api = config.api
    return MPServer(
        "tatu.wsgi:application",
        address=api.bind_host,
        port=api.bind_port,
        interface=Interfaces.WSGI,
        workers=api.workers,
        blocking_threads=api.blocking_threads,
        backlog=api.max_connections,
        backpressure=api.max_connections,
        http=HTTPModes.http1,
        websockets=False,
        log_dictconfig=_LOGGING,
        ssl_cert=api.tls[0] if api.tls else None,
        ssl_key=api.tls[1] if api.tls else None,
        workers_kill_timeout=_GRACE,
    )


def _check_port(config: Config) -> None:
    """Raise OSError when the port is taken: Granian would share it with whoever has it."""
    family = socket.AF_INET6 if ":" in config.api.bind_host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((config.api.bind_host, config.api.bind_port))


def _worker(arguments: tuple[str, ...]) -> Callable[..., Any]:
    """Build the API in a worker process."""
    _end_with(os.getppid())
    try:
        config = load(arguments)
        logs.configure(config.log_level)
        server = Server(config)
    except TatuError as error:
        sys.exit(_failed(1, error))
    # A worker ends without running what `atexit` knows.
    multiprocessing.util.Finalize(None, server.close, exitpriority=1)
    _receive_signals(functools.partial(_reload, arguments))
    return server.wsgi


def _end_with(parent: int) -> None:
    """Stop when the parent dies, however: whoever outlives it would keep the ledger locked."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


def _receive_signals(on_hangup: Callable[[], None]) -> None:
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


def _reload(arguments: tuple[str, ...]) -> None:
    try:
        logs.configure(load(arguments).log_level)
    except TatuError as error:
        LOG.warning("reload", error=str(error))
    else:
        LOG.info("reload")


def _hand_on() -> None:
    """Let workers reload in place: on SQLite a second one could not start beside the first."""
    for child in multiprocessing.active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGHUP)


def _failed(code: int, error: Exception) -> int:
    sys.stderr.write(f"tatu-api: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
