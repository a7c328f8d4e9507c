"""Around every request, in one pass: its id, its headers, its one line in the log, its count.

The log has what happened and who asked for it; never a token, header, query, body or key.
"""

import re
import secrets
import time
from typing import Any

import structlog
from falcon import Request, Response

from tatu.api.metrics import Metrics

LOG = structlog.get_logger("tatu.api")

_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNMATCHED = "unmatched"
_UNAUTHORIZED = 401


class Observation:
    """The one middleware."""

    def __init__(self, metrics: Metrics, *, sign_in_url: str) -> None:
        self._metrics = metrics
        self._challenge = f'Keystone uri="{sign_in_url}"' if sign_in_url else "Bearer"

    def process_request(self, req: Request, resp: Response) -> None:
        """Give the request its id: the caller's own when it is a plain word."""
        context = req.context
        context.began = time.perf_counter()
        context.identity = None
        given = req.get_header("X-Request-Id")
        if given is not None and _WORD.fullmatch(given):
            context.request_id = given
        else:
            context.request_id = secrets.token_hex(16)

    def process_response(self, req: Request, resp: Response, resource: object, *_: object) -> None:
        """Set the headers of every answer, then tell of it."""
        context = req.context
        # Whatever is not meant for all says nothing to a cache, and is never guessed to be a page.
        if resp.get_header("Cache-Control") is None:
            resp.set_header("Cache-Control", "no-store")
        resp.set_header("X-Content-Type-Options", "nosniff")
        resp.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        resp.set_header("X-Request-Id", context.request_id)
        if resp.status_code == _UNAUTHORIZED:
            resp.set_header("WWW-Authenticate", self._challenge)
        route = req.uri_template or _UNMATCHED
        method = req.method if resource is not None else _UNMATCHED
        seconds = time.perf_counter() - context.began
        self._metrics.observe(route, method, resp.status_code, seconds)
        LOG.info("request", **self._told(req, resp, route, seconds))

    def _told(self, req: Request, resp: Response, route: str, seconds: float) -> dict[str, Any]:
        told: dict[str, Any] = {
            "method": req.method,
            "route": route,
            "status": resp.status_code,
            "ms": round(seconds * 1000, 2),
            "request_id": req.context.request_id,
        }
        if (identity := req.context.identity) is not None:
            told["subject"] = identity.subject
            told["project"] = identity.project
        return told
