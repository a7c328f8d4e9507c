"""Requests as the original's clients send them, answers and refusals as they read them.

The steps are those of `endpoint`, in their order; what differs is only the form. A body is JSON
whatever it says of itself (curl says that it is a form), unknown fields and parameters are
overlooked, refusals have the original's shape, and every byte trap of its scripts is heeded:
they cut answers up by `grep`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import msgspec
from falcon import Request, Response

from tatu.api import limits, problems, shapes
from tatu.api.endpoint import NO_FACTS, authorize, facts_of, path_of, read_body
from tatu.api.operation import Call, Operation, Shared
from tatu.api.problems import TooLarge
from tatu.core.errors import TatuError

PREFIXES = ("/v1/", "/noauth/")

_MISSING = re.compile(r"missing required field `([\w-]+)`")


class Refused(TatuError):
    """A refusal in words that the original's clients may know."""

    slug = "malformed"

    def __init__(self, status: int, title: str, description: str = "") -> None:
        super().__init__(description or title)
        self.status = status
        self.title = title
        self.description = description


def refused(status: int, description: str) -> Refused:
    """Return a refusal whose title is no more than its status."""
    return Refused(status, f"{status} {HTTPStatus(status).phrase}", description)


class Door:
    """A path with its operations; Falcon calls `on_get` and the like."""

    def __init__(self, shared: Shared, operations: Mapping[str, Operation]) -> None:
        for method, operation in operations.items():
            setattr(self, f"on_{method.lower()}", _responder(shared, operation))


class Slashes:
    """Middleware: a slash at the end of a path of this wire means nothing."""

    def process_request(self, req: Request, resp: Response) -> None:
        """Take it away before the route is looked for."""
        if req.path.startswith(PREFIXES):
            req.path = req.path.rstrip("/")


def _responder(shared: Shared, operation: Operation) -> Callable[..., None]:
    decoder = None if operation.body is None else msgspec.json.Decoder(operation.body)
    parts = shared.parts

    def answer(req: Request, resp: Response, segments: Mapping[str, str]) -> object:
        length = 0 if decoder is None else _length(req, parts.settings.max_body)
        facts, identity = NO_FACTS, None
        if not operation.public:
            facts = facts_of(req)
            cached = operation.remembered or req.method == "GET"
            identity = limits.authenticate(parts, req, facts, cached=cached)
            req.context.identity = identity
            own = {} if identity.project is None else {"authority": identity.project}
            authorize(parts, operation, identity, own, req)
        elif operation.address_rate is not None:
            limits.take_address(parts, req, operation.address_rate)
        arguments = path_of(operation, segments)
        if decoder is not None:
            with shared.bodies.place(limits.address(req, parts.settings.trusted_proxies)):
                body = read_body(req, length)
            facts = replace(facts, body_digest=sha256(body).hexdigest())
            arguments["body"] = _decoded(body, decoder)
        call = Call(shared=shared, request=req, response=resp, facts=facts, identity=identity)
        try:
            return operation.function(call, **arguments)
        finally:
            if operation.publishes:
                shared.newest.forget()

    def respond(req: Request, resp: Response, **segments: str) -> None:
        resp.status = operation.status
        try:
            found = answer(req, resp, segments)
        except TatuError as error:
            _refuse(req, resp, error)
        else:
            if found != b"":
                _write(resp, found)

    return respond


def _length(req: Request, limit: int) -> int:
    if not req.content_length:
        raise Refused(400, "The POST/PUT request is missing a body.")
    length: int = req.content_length
    if length > limit:
        raise TooLarge(f"a body is at most {limit} bytes")
    return length


def _decoded(body: bytes, decoder: "msgspec.json.Decoder[Any]") -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if missing := _MISSING.search(str(error)):
            name = missing.group(1)
            raise Refused(400, f"'{name}'", f"the body has no {name!r}") from None
        raise Refused(400, "Bad request", shapes.told(error)) from None
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise Refused(400, "Bad request", "the body is not JSON") from None


def _refuse(req: Request, resp: Response, error: TatuError) -> None:
    """Answer a refusal: status and headers are those of `/v2`, the words the original's.

    `message` is what today's command line shows; the original's own is told only the status.
    """
    problems.tatu_error(req, resp, error, None)
    if isinstance(error, Refused):
        resp.status = error.status
    else:
        error = refused(resp.status_code, str(error))
    told = {"title": error.title, "description": error.description}
    _write(resp, {**{name: text for name, text in told.items() if text}, "message": str(error)})


def _write(resp: Response, answer: object) -> None:
    """Write JSON with a blank behind each colon and nothing behind the last bracket.

    The scripts look for `"cert": "` and take what follows the last `}` for the status; what is
    not ASCII they would put in files as it is escaped.
    """
    resp.data = json.dumps(answer, ensure_ascii=False).encode()
    resp.content_type = "application/json"
