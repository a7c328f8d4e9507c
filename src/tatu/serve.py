"""`tatu-api`: the API on Granian, and with `[watch] with_api` the watch door beside it.

Stops gracefully on SIGTERM; on SIGHUP it reads the log level anew (policy files are always read
anew when they change). Exit codes: 0 stopped, 1 cannot serve, 2 wrong configuration.
"""

import functools
import multiprocessing.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from granian.constants import Interfaces

from tatu import logs, serving
from tatu.bootstrap import Server, check_config
from tatu.config import Config, load
from tatu.core.errors import Malformed, TatuError
from tatu.serving import Listening

LOG = structlog.get_logger("tatu.serve")

_PROGRAM = "tatu-api"
_GRACE = 30
"""Seconds that requests have to end when the server stops."""

_BESIDE = (
    "import sys; from tatu import serve; sys.exit(serve.beside(int(sys.argv[1]), sys.argv[2:]))"
)
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
    serve = functools.partial(_listening(config).serve, functools.partial(_worker, tuple(given)))
    if not config.watch.with_api:
        return serve()
    serving.block_signals()  # in the thread of the door as well
    door = _Beside(given)
    with door:
        return serve(on_hangup=functools.partial(door.signal, signal.SIGHUP))


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


class _Beside:
    """The watch door, run for as long as the API is served, and again when it ends."""

    def __init__(self, given: Sequence[str]) -> None:
        self._command = [sys.executable, "-c", _BESIDE, str(os.getpid()), *given]
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # A door ends with the thread that started it (prctl(2)): this one lives as long as we do.
        self._keeper = threading.Thread(target=self._keep, name="tatu-watch", daemon=True)

    def __enter__(self) -> None:
        self._keeper.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.signal(signal.SIGTERM)
        self._keeper.join(_GRACE)

    def signal(self, number: int) -> None:
        """Send the door a signal, if it runs."""
        if self._process:
            self._process.send_signal(number)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._process = subprocess.Popen(self._command, env=_without_credentials())
            code = self._process.wait()
            if not self._stopping.wait(_AGAIN):
                LOG.warning("watch door ended", exit_code=code)


def _without_credentials() -> dict[str, str]:
    """Return our environment for the door, but not where systemd put our keys."""
    return {name: value for name, value in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}


def beside(parent: int, given: Sequence[str]) -> int:
    """Run the watch door until the parent ends; return its exit code."""
    from tatu import watch  # noqa: PLC0415 - the API itself needs nothing of it

    serving.end_with(parent)
    return watch.main(given)


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
