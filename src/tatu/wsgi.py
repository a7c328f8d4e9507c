"""The API for any WSGI server: `tatu.wsgi:application` (uWSGI, mod_wsgi, gunicorn …).

The configuration comes from the files that oslo.config finds for `tatu`, and the environment. A
server that forks must load this in its workers (gunicorn's default; `lazy-apps` of uWSGI).
"""

import atexit
import threading
from collections.abc import Callable, Iterable
from typing import Any

from tatu import logs
from tatu.bootstrap import Server
from tatu.config import load

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Lazy:
    """Builds the API at the first request: nothing is opened by an import."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wsgi: WsgiApplication | None = None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request."""
        with self._lock:
            if self._wsgi is None:
                self._wsgi = self._build()
        return self._wsgi(environ, start_response)

    def _build(self) -> WsgiApplication:
        config = load(())
        logs.configure(config.log_level)
        server = Server(config)
        atexit.register(server.close)
        return server.wsgi


application = Lazy()
