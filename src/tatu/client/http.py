"""One HTTP request to Tatu, and one table from its problems to our errors."""

from typing import Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
import requests
from keystoneauth1 import exceptions
from keystoneauth1.adapter import Adapter
from keystoneauth1.session import Session

from tatu.client.resources import Problem
from tatu.core import errors
from tatu.core.errors import Malformed, TatuError, TooMany, Unavailable

T = TypeVar("T")


class _Links(msgspec.Struct, frozen=True):
    """Where a list goes on."""

    next: str | None = None


class _Page(msgspec.Struct, Generic[T], frozen=True):
    """One part of a list."""

    items: list[T]
    links: _Links = _Links()


_CONNECT_AND_READ_SECONDS = 20
_ERRORS = 400
_SERVER_ERRORS = 500
_NOT_AS_TATU = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BY_STATUS: dict[int, type[TatuError]] = {
    401: errors.Unauthenticated,
    403: errors.Denied,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.Gone,
}


def session(url: str) -> Session:
    """Return a new HTTP session for a URL.

    $REQUESTS_CA_BUNDLE names authorities to trust for https.
    """
    wire = requests.Session()
    # Plain http is for this very machine: a proxy would read the token.
    wire.trust_env = not url.startswith("http:")
    return Session(session=wire, timeout=_CONNECT_AND_READ_SECONDS, user_agent="tatu")


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request's headers alone: by default ~/.netrc would replace our token."""
    return prepared


def request(
    adapter: Adapter,
    method: str,
    path: str,
    *,
    body: object = None,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    authenticated: bool = True,
) -> requests.Response:
    """Send a request and return the answer, which may be 304.

    Raises the class of `core.errors` that the server's problem names, with the request's id in
    the text; `Unavailable` when no server answers.
    """
    try:
        response = adapter.request(
            path,
            method,
            json=body,
            params=query or {},
            headers={"Accept": "application/json, */*;q=0.1", **(headers or {})},
            authenticated=authenticated,
            requests_auth=_as_it_is,
            raise_exc=False,
            # a redirect could carry the token elsewhere, and a log could keep it
            redirect=False,
            log=False,
        )
    except exceptions.ClientException as error:
        cause = error.__cause__ or error
        raise Unavailable(
            f"{adapter.endpoint_override} does not answer: {_short(cause)}"
        ) from error
    if response.status_code >= _ERRORS:
        raise _problem(response)
    if response.is_redirect:
        raise Unavailable(f"{adapter.endpoint_override} sends us elsewhere: that is no Tatu")
    return response


def ask(
    adapter: Adapter,
    method: str,
    path: str,
    kind: type[T],
    *,
    body: object = None,
    query: dict[str, str] | None = None,
    authenticated: bool = True,
) -> T:
    """Send a request and parse the answer; raises as `request` does."""
    response = request(adapter, method, path, body=body, query=query, authenticated=authenticated)
    try:
        return msgspec.json.decode(response.content, type=kind)
    except _NOT_AS_TATU as error:
        where = f"{adapter.endpoint_override}{path}"
        raise Unavailable(f"{where} did not answer as Tatu does: {error}") from error


def _problem(response: requests.Response) -> TatuError:
    """Return a problem as an error of one line."""
    status = response.status_code
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except _NOT_AS_TATU:
        problem = Problem()
    text = _printable(problem.detail or problem.title or f"HTTP status {status}")
    if request_id := problem.request_id or response.headers.get("X-Request-Id", ""):
        text += f" (request {_printable(request_id)})"
    retry_after = response.headers.get("Retry-After", "")
    if status == requests.codes.too_many:
        seconds = int(retry_after) if retry_after.isdecimal() else 1
        return TooMany(f"{text}; try again in {seconds} s", retry_after=seconds)
    if status >= _SERVER_ERRORS:
        return Unavailable(text)
    return _BY_STATUS.get(status, Malformed)(text)


def _printable(text: str) -> str:
    """Return foreign text for a terminal: one line, no escape sequences."""
    return "".join(char if char.isprintable() else " " for char in text)[:1000]


def _short(error: BaseException) -> str:
    """Return the innermost reason that a library wrapped up."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return _printable(str(error)) or type(error).__name__


def page(adapter: Adapter, path: str, kind: type[T], query: dict[str, str]) -> list[T]:
    """Return the first items of a list that has no end; raises as `request` does."""
    return ask(adapter, "GET", path, _Page[kind], query=query).items  # type: ignore[valid-type]


def pages(adapter: Adapter, path: str, kind: type[T], query: dict[str, str]) -> list[T]:
    """Return all items of a list, page after page; raises as `request` does."""
    items: list[T] = []
    asked: list[dict[str, str]] = []
    follow: dict[str, str] | None = query
    while follow is not None:
        if follow in asked:  # we would go round for ever
            raise Unavailable(f"{path} did not answer as Tatu does: its pages form a circle")
        asked.append(follow)
        page = ask(adapter, "GET", path, _Page[kind], query=follow)  # type: ignore[valid-type]
        items += page.items
        follow = _query_of(page.links.next) if page.links.next else None
    return items


def _query_of(link: str) -> dict[str, str]:
    """Return the query of a link: where else it leads does not matter, we stay where we are."""
    return dict(parse_qsl(link.partition("#")[0].partition("?")[2]))
