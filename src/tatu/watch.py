"""`tatu-watch`: holds hosts that wait for news of their authority, and tells them when there is.

It knows nothing but the newest version of each authority that somebody watches, and holds no key:
where a statement is behind, it asks the API for it as hosts do, and the API signs one. What a host
then fetches is the ordinary, cacheable statement. Who asks is not asked: an authority that there
is not is answered like one of which there is no news. Stops on SIGTERM; on SIGHUP it reads the log
level anew. Exit codes: 0 stopped, 1 cannot serve, 2 wrong configuration.
"""

import asyncio
import functools
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from secrets import SystemRandom
from typing import Any

import falcon
import falcon.asgi
import structlog
from granian.constants import Interfaces

from tatu import bootstrap, logs, serving
from tatu.config import Config, load
from tatu.core.errors import TatuError
from tatu.feed import Feed, Full
from tatu.fetch import Statements
from tatu.serving import Listening

LOG = structlog.get_logger("tatu.watch")

_PROGRAM = "tatu-watch"
_GRACE = 2
"""Seconds until those who still wait are cut off when the door stops: they ask again."""

_FILES = 256
"""Open files besides the connections."""

_JITTER = 0.1
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_VERSION = 2**63 - 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = load(given, description="Tells hosts when their authority has news.")
        bootstrap.check_config(config)
    except TatuError as error:
        return serving.failed(_PROGRAM, 2, error)
    logs.configure(config.log_level)
    _allow_files(config.watch.max_connections + _FILES)
    return Listening(
        program=_PROGRAM,
        interface=Interfaces.ASGI,
        host=config.watch.bind_host,
        port=config.watch.bind_port,
        tls=config.api.tls,
        max_connections=config.watch.max_connections,
        workers=1,
        threads=1,
        grace=_GRACE,
    ).serve(functools.partial(_worker, tuple(given)))


def _allow_files(wanted: int) -> None:
    """Take as many open files as the connections need, or say how many there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    if wanted <= hard:
        with suppress(OSError):  # where a sandbox forbids it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return
    LOG.warning("few files", limit=soft, wanted=wanted)


def _worker(arguments: tuple[str, ...]) -> falcon.asgi.App[Any, Any]:
    """Build the door in its worker process."""
    serving.end_with(os.getppid())
    try:
        config = load(arguments)
        logs.configure(config.log_level)
        return create_app(config, arguments)
    except TatuError as error:
        sys.exit(serving.failed(_PROGRAM, 1, error))


def create_app(config: Config, arguments: Sequence[str]) -> falcon.asgi.App[Any, Any]:
    """Build the door over its own view of the ledger. Raises `Malformed` or `Unavailable`."""
    ledger = bootstrap.open_ledger(config)
    try:
        ledger.check()
    except BaseException:
        ledger.close()
        raise
    feed = Feed(
        versions=ledger.publications.versions,
        build=Statements(url=config.watch.api).ask,
        most=config.watch.max_connections,
        per_second=config.watch.told_per_second,
    )
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(
        middleware=[_Life(feed, ledger.close, arguments)]
    )
    app.set_error_serializer(_problem)
    app.add_route(
        "/watch/v2/authorities/{authority}", Watching(feed, config.watch.hold.total_seconds())
    )
    app.add_route("/readyz", Readiness(feed))
    return app


class Watching:
    """The version of an authority's statement, as soon as it is after one that a host has."""

    def __init__(self, feed: Feed, hold: float) -> None:
        self._feed = feed
        self._hold = hold

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, authority: str
    ) -> None:
        """Answer 200 when there is news, 204 when there was none for as long as is held."""
        if not _ID.fullmatch(authority):
            raise falcon.HTTPNotFound
        after = request.get_param_as_int(
            "after", required=True, min_value=0, max_value=_MAX_VERSION
        )
        hold = self._hold * SystemRandom().uniform(1 - _JITTER, 1)
        response.set_header("Cache-Control", "no-store")
        try:
            version = await self._feed.newer(authority, after, hold)
        except Full:
            raise falcon.HTTPServiceUnavailable(
                description="as many hosts watch as there is room for: poll", retry_after=60
            ) from None
        if version is None:
            response.status = HTTPStatus.NO_CONTENT
        else:
            response.media = {"version": version}


class Readiness:
    """Whether the door hears of news, and how many wait."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def on_get(self, request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Answer 503 while the ledger does not."""
        feed = self._feed
        response.status = HTTPStatus.SERVICE_UNAVAILABLE if feed.failing else HTTPStatus.OK
        response.media = {
            "status": "unready" if feed.failing else "ready",
            "watching": feed.waiting,
            "max_connections": feed.most,
        }


class _Life:
    """Follows the ledger for as long as the door is open."""

    def __init__(self, feed: Feed, close: Any, arguments: Sequence[str]) -> None:
        self._feed = feed
        self._close = close
        self._arguments = arguments
        self._following: asyncio.Task[None] | None = None

    async def process_startup(self, scope: Any, event: Any) -> None:
        serving.unblock_signals()  # Granian's event loop is woken by them
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, serving.reload, self._arguments
        )
        self._following = asyncio.create_task(self._feed.follow())

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        if self._following:
            self._following.cancel()
        self._close()


def _problem(
    request: falcon.asgi.Request, response: falcon.asgi.Response, error: falcon.HTTPError
) -> None:
    """Say what is wrong as the API does (RFC 9457)."""
    response.content_type = "application/problem+json"
    told = {"type": "about:blank", "title": error.title, "detail": error.description}
    response.text = json.dumps(told)


if __name__ == "__main__":
    sys.exit(main())
