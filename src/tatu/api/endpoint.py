"""From a request to an operation and back: the same few steps, in the same order, for every route.

    length → token or address → path → scope → rule → body → shape → Idempotency-Key → operation

Of what a host signs, time and form come first, and the signature when the body has been read.

Whoever has no token learns nothing of what is there; whoever may not see something
learns as much as of what is absent. Neither can make a thread wait for their body.
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import msgspec
from falcon import Request, Response

from tatu import ports
from tatu.api import hostauthentication, idempotency, limits, shapes
from tatu.api.operation import Call, NoQuery, Operation, Shared
from tatu.api.parts import Parts
from tatu.api.problems import LengthRequired, TooLarge, UnsupportedMediaType
from tatu.core.errors import Denied, Malformed, NotFound
from tatu.core.identity import Identity
from tatu.service.audit import append_some, event

_NO_BODY = hashlib.sha256(b"").hexdigest()
_READS = ("GET", "HEAD")
NO_FACTS = ports.Request(method="", path="", body_digest="", headers={})  # nobody to recognize


class Endpoint:
    """A path with its operations; Falcon calls `on_get` and the like."""

    def __init__(self, shared: Shared, operations: Mapping[str, Operation]) -> None:
        for method, operation in operations.items():
            responder = _responder(shared, operation)
            setattr(self, f"on_{method.lower()}", responder)
            if method == "GET":
                self.on_head = responder  # Falcon leaves the body out


def _responder(shared: Shared, operation: Operation) -> Callable[..., None]:
    decoder = None if operation.body is None else msgspec.json.Decoder(operation.body)
    parts = shared.parts

    def respond(req: Request, resp: Response, **segments: str) -> None:
        length = _length(req, parts.settings.max_body, takes_one=decoder is not None)
        facts, identity, claimed, signer, body = NO_FACTS, None, None, None, b""
        if operation.by_host:
            claimed = hostauthentication.credentials(parts, req)
        elif not operation.public:
            facts = facts_of(req)
            # What ended since a token was looked up must not be answered from memory, nor may
            # whoever lost a role, in whatever process, change anything by it.
            cached = (operation.remembered or req.method in _READS) and req.get_header(
                idempotency.HEADER
            ) is None
            identity = limits.authenticate(parts, req, facts, cached=cached)
            req.context.identity = identity
        elif operation.address_rate is not None:
            limits.take_address(parts, req, operation.address_rate)
        arguments = path_of(operation, segments)
        if identity is not None:
            authorize(parts, operation, identity, arguments, req)
        if operation.query is not NoQuery:
            arguments["query"] = _query(req, operation.query)
        elif req.query_string:
            _query(req, NoQuery)
        if decoder is not None:
            with shared.bodies.place(limits.address(req, parts.settings.trusted_proxies)):
                body = read_body(req, length)
            facts = replace(facts, body_digest=hashlib.sha256(body).hexdigest())
            if claimed is not None:
                signer = hostauthentication.authenticate(parts, req, claimed, arguments, body)
        resp.status = operation.status
        call = Call(
            shared=shared,
            request=req,
            response=resp,
            facts=facts,
            identity=identity,
            signer=signer,
        )
        with _once(call, operation):
            _answer(call, operation, arguments | _body(req, body, decoder))

    return respond


def authorize(
    parts: Parts, operation: Operation, identity: Identity, path: Mapping[str, Any], req: Request
) -> None:
    """Raise `NotFound` or `Denied` for what a caller may not ask."""
    try:
        if "authority" in path:
            parts.access.within(identity, path["authority"])
        if operation.rule is not None:
            parts.access.require(identity, operation.rule, path)
    except Denied:
        if operation.audited:
            audit_denial(
                parts, identity, req, operation.name, identity.project, rule=operation.rule
            )
        raise
    except NotFound:  # alike for what is foreign and what is absent (S10); no project sees it
        if operation.audited:
            facts = {"rule": operation.rule, "wanted": path["authority"]}
            audit_denial(parts, identity, req, operation.name, None, **facts)
        raise


def audit_denial(
    parts: Parts,
    identity: Identity,
    req: Request,
    subject: str,
    authority: str | None,
    **facts: str | None,
) -> None:
    """Write down who was not let in, some times; `subject` is where."""
    denied = event(
        "request.denied",
        by=identity,
        at=parts.clock(),
        subject=subject,
        authority=authority,
        request_id=req.context.request_id,
        **facts,
    )
    append_some(parts.ledger, denied, identity.issuer, identity.subject, subject)


def _once(call: Call, operation: Operation) -> AbstractContextManager[None]:
    """Use up what a host signed, with whatever is done with it."""
    if call.signer is None:
        return nullcontext()
    return call.parts.host_requests.once(call.signer, itself=operation.uses_nonce)


def _answer(call: Call, operation: Operation, arguments: Mapping[str, Any]) -> None:
    try:
        answer = idempotency.answer(call, operation, lambda: operation.function(call, **arguments))
    finally:
        if operation.publishes:
            call.shared.newest.forget()
    if answer.body:
        call.response.data = answer.body
        call.response.content_type = operation.media


def _length(req: Request, limit: int, *, takes_one: bool) -> int:
    """Return how long the body is; refuse one that is unsaid, too great, or not asked for."""
    length = req.content_length
    if length is None:
        if takes_one or req.get_header("Transfer-Encoding") is not None:
            raise LengthRequired("send a Content-Length; chunked bodies are not read")
        return 0
    if length > limit:
        raise TooLarge(f"a body is at most {limit} bytes")
    if length and not takes_one:
        raise Malformed("this request takes no body")
    return length


def read_body(req: Request, length: int) -> bytes:
    """Read a body of that length. Raises `Malformed` for a shorter one."""
    body: bytes = req.bounded_stream.read(length) if length else b""
    if len(body) != length:
        raise Malformed("the body is shorter than its Content-Length")
    return body


def facts_of(req: Request) -> ports.Request:
    """Return what an identity driver sees of a request whose body is not read yet."""
    return ports.Request(
        method=req.method,
        path=req.path,
        body_digest=_NO_BODY,
        headers={name.lower(): value for name, value in req.headers.items()},
    )


def path_of(operation: Operation, segments: Mapping[str, str]) -> dict[str, Any]:
    """Read the parts of the path; what none could ever be is not there: `NotFound`."""
    try:
        return {
            name: msgspec.convert(segments[name], kind, strict=False)
            for name, kind in operation.path.items()
        }
    except msgspec.ValidationError:
        raise NotFound("there is nothing at this path") from None


def _query(req: Request, kind: type[msgspec.Struct]) -> Any:
    for name, value in req.params.items():
        if isinstance(value, list):
            raise Malformed(f"query parameter {name!r} stands there twice")
    try:
        return msgspec.convert(req.params, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed(f"query: {shapes.told(error)}") from None


def _body(req: Request, body: bytes, decoder: msgspec.json.Decoder[Any] | None) -> dict[str, Any]:
    """Return the body as the argument that it is, where there is one."""
    if decoder is None:
        return {}
    media = (req.content_type or "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType("the body must be application/json")
    return {"body": shapes.decoded(decoder, body, "body")}
