"""An operation: one method of one path, as a function whose signature is its contract.

    @operation(rule="tatu:hosts:show")
    def show(call: Call, authority: Id, host: HostId) -> HostShown: ...

`body` and `query`, where a function has them, are read from the request; every other argument is
part of the path; what it returns is the answer.  OpenAPI is generated from just this.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
from falcon import Request, Response

from tatu import ports
from tatu.api.bodies import Bodies
from tatu.api.lag import Lag
from tatu.api.metrics import Metrics
from tatu.api.newest import Newest
from tatu.api.parts import Parts
from tatu.api.readiness import Ready
from tatu.core.errors import Unauthenticated
from tatu.core.identity import Identity
from tatu.service.hostrequests import HostCaller


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all requests of an application share."""

    parts: Parts
    newest: Newest
    metrics: Metrics
    lag: Lag
    bodies: Bodies
    ready: Ready
    openapi: Callable[[], bytes]
    app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request, as an operation sees it."""

    shared: Shared
    request: Request
    response: Response
    facts: ports.Request
    identity: Identity | None
    signer: HostCaller | None = None

    @property
    def parts(self) -> Parts:
        """The parts that do the work."""
        return self.shared.parts

    @property
    def caller(self) -> Identity:
        """Who asks; an operation that forgot to ask for one fails closed."""
        if self.identity is None:
            raise Unauthenticated("a token is needed")
        return self.identity

    @property
    def host_caller(self) -> HostCaller:
        """The host that asks; fails closed as `caller` does."""
        if self.signer is None:
            raise Unauthenticated("an enrolled host has to sign this")
        return self.signer

    @property
    def request_id(self) -> str:
        """The id that joins the answer, the log and the audit chain."""
        return str(self.request.context.request_id)

    @property
    def scope(self) -> tuple[str, ...] | None:
        """The authorities that the caller may know of; None is all."""
        return self.parts.access.scope(self.caller)


class NoQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing may stand behind the question mark."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A function with what HTTP must know of it.

    `rule` is asked before anything is looked up; None lets in whoever is signed in.  `public` asks
    for no token.  With `by_host` the host asks that the path names as `authority` and `host`, and
    signs the request, which has a body; one that `uses_nonce` itself keeps what the host tells and
    the request's nonce in one commit.  With `kept` its answer is kept for an Idempotency-Key.
    `publishes`: what hosts are told may be another afterwards.  `media` is set where the answer is
    not JSON.  `address_rate` names the one of `Rates` that counts addresses, before a body is
    read.  A caller is `remembered` also for a change, where its commit is compared with what ended
    since (S4).  With `audited` whoever the rule or the scope does not let in is written down.
    """

    function: Callable[..., Any]
    rule: str | None
    public: bool
    by_host: bool
    uses_nonce: bool
    status: int
    kept: bool
    publishes: bool
    media: str
    address_rate: str | None
    remembered: bool
    audited: bool
    path: Mapping[str, Any]
    body: type[msgspec.Struct] | None
    query: type[msgspec.Struct]
    answer: Any

    @property
    def name(self) -> str:
        """A name that no other operation has."""
        module = self.function.__module__.rpartition(".")[2]
        return f"{module}.{self.function.__name__}"

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.function.__doc__ or "").partition("\n")[0]


def operation(
    *,
    rule: str | None = None,
    public: bool = False,
    by_host: bool = False,
    uses_nonce: bool = False,
    status: int = 200,
    kept: bool = False,
    publishes: bool = False,
    media: str = "application/json",
    address_rate: str | None = None,
    remembered: bool = False,
    audited: bool = False,
) -> Callable[[Callable[..., Any]], Operation]:
    """Make an operation of a function."""

    def made(function: Callable[..., Any]) -> Operation:
        hints = get_type_hints(function, include_extras=True)
        answer = hints.pop("return")
        hints.pop("call")
        return Operation(
            function=function,
            rule=rule,
            public=public,
            by_host=by_host,
            uses_nonce=uses_nonce,
            status=204 if answer is type(None) else status,
            kept=kept,
            publishes=publishes,
            media=media,
            address_rate=address_rate,
            remembered=remembered,
            audited=audited,
            body=hints.pop("body", None),
            query=hints.pop("query", NoQuery),
            path=hints,
            answer=None if answer is type(None) else answer,
        )

    return made
