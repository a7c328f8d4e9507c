"""`tatu-api`: the API on Granian, and with `[watch] with_api` the watch door beside it.

Stops gracefully on SIGTERM; on SIGHUP it reads the log level anew (policy files are always read
anew when they change). Exit codes: 0 stopped, 1 cannot serve, 2 wrong configuration.
"""

import functools
import multiprocessing
import multiprocessing.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import structlog
from granian.constants import Interfaces

from tatu import logs, serving
from tatu.bootstrap import Server, check_config
from tatu.config import Config, load
from tatu.core.errors import Malformed, TatuError
from tatu.serving import Listening

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

LOG = structlog.get_logger("tatu.serve")

_PROGRAM = "tatu-api"
_GRACE = 30
"""Seconds that requests have to end when the server stops."""

_AGAIN = 5.0
"""Seconds until a door that ended is started again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = load(given, description="Serves Tatu's API.")
        check_config(config)
        if config.database.embedded and config.api.workers > 1:
            raise Malformed("[api] workers must be 1 on SQLite: it has room for one process")
    except TatuError as error:
        return serving.failed(_PROGRAM, 2, error)
    logs.configure(config.log_level)
    for warning in config.warnings:
        LOG.warning("insecure", why=warning)
    serving.block_signals()  # also in the thread of the door beside
    with _door_beside(given) if config.watch.with_api else nullcontext():
        return _listening(config).serve(functools.partial(_worker, tuple(given)))


def _listening(config: Config) -> Listening:
    api = config.api
    return Listening(
        program=_PROGRAM,
        interface=Interfaces.WSGI,
        host=api.bind_host,
        port=api.bind_port,
        tls=api.tls,
        max_connections=api.max_connections,
        workers=api.workers,
        threads=api.blocking_threads,
        grace=_GRACE,
    )


@contextmanager
def _door_beside(given: Sequence[str]) -> Iterator[None]:
    """Run the watch door for as long as the API is served, again when it ends."""
    stopping = threading.Event()
    context = multiprocessing.get_context("spawn")
    running: list[BaseProcess] = []

    def keep() -> None:
        while not stopping.is_set():
            running[:] = [context.Process(target=_watch, args=(given, os.getpid()))]
            running[0].start()
            running[0].join()
            if not stopping.wait(_AGAIN):
                LOG.warning("watch door ended", exit_code=running[0].exitcode)

    # The door ends with the thread that started it (prctl(2)): this one lives as long as we do.
    keeper = threading.Thread(target=keep, name="tatu-watch", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        for process in running:
            process.terminate()
        keeper.join(_GRACE)


def _watch(given: Sequence[str], parent: int) -> None:
    from tatu import watch  # noqa: PLC0415 - the API needs nothing of it

    serving.end_with(parent)
    sys.exit(watch.main(given))


def _worker(arguments: tuple[str, ...]) -> Callable[..., Any]:
    """Build the API in a worker process."""
    serving.end_with(os.getppid())
    try:
        config = load(arguments)
        logs.configure(config.log_level)
        server = Server(config)
    except TatuError as error:
        sys.exit(serving.failed(_PROGRAM, 1, error))
    # A worker ends without running what `atexit` knows.
    multiprocessing.util.Finalize(None, server.close, exitpriority=1)
    serving.receive_signals(functools.partial(serving.reload, arguments))
    return server.wsgi


if __name__ == "__main__":
    sys.exit(main())
