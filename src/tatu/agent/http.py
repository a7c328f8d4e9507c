"""HTTP to Tatu: to the one server that was named, in bounded time and size."""

from __future__ import annotations

import base64
import functools
import http.client
import ipaddress
import json
import queue
import socket
import ssl
import threading
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from tatu.agent import VERSION
from tatu.agent.errors import AgentError, Answered, Malformed
from tatu.agent.text import plain

METADATA = "169.254.169.254"
"""Where an instance finds its platform."""

_SILENCE = 10.0
_DEADLINE = 60.0
_CHUNK = 65_536
_MAX_PROBLEM = 4096
_MAX_SAID = 300
_MAX_TIME = 16_384
_OK = range(200, 300)
_NOT_MODIFIED = 304
_REFUSED = 400
_MAX_CARRIED = 3700
"""Characters of a URL: of a request with all its headers Neutron's agent reads 4,096 bytes."""

TOO_LARGE = 413
_CARRIED = {
    "If-None-Match": "if_none_match",
    "Tatu-Host": "host",
    "Tatu-Time": "time",
    "Tatu-Nonce": "nonce",
    "Tatu-Signature": "signature",
}
_NO_PROBLEM = (ValueError, KeyError, TypeError, RecursionError)  # a server in between wrote it


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    data: bytes | None


@dataclass(frozen=True)
class _Answer:
    """`body` is None for what is still as it was; `date` is the server's time."""

    body: bytes | None
    date: datetime | None


class _Line:
    """The connection of one request: whoever waits no longer cuts it, and its thread ends."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def hold(self, opened: socket.socket) -> None:
        """Keep what was opened; raises `OSError` when nobody waits for it any more."""
        with self._changing:
            if self._is_cut:
                raise OSError("nobody waits for the answer")
            self._socket = opened

    def cut(self) -> None:
        """End what is read or written; who reads or writes closes the socket."""
        with self._changing:
            self._is_cut = True
            if self._socket is not None:
                with suppress(OSError):  # it ended by itself
                    self._socket.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Server:
    """Where Tatu answers; `ca_file` names the authorities for its TLS instead of the system's.

    Raises `AgentError` for plain http that leaves this machine, unless it is `insecure_http`, or
    goes to the platform's own address: that the platform carries.
    """

    url: str
    ca_file: str | None = None
    insecure_http: bool = False

    @property
    def carried(self) -> bool:
        """Whether the platform's own address carries what is sent: neither header nor status."""
        parts = urlsplit(self.url)
        return parts.hostname == METADATA and parts.path.strip("/") != ""

    def __post_init__(self) -> None:
        """Refuse where anybody on the way could answer."""
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise AgentError("the server's address is no URL") from error
        if parts.scheme not in ("http", "https") or not host or parts.username or parts.query:
            raise AgentError("the server's address is no http or https URL")
        if parts.scheme == "http" and not self.insecure_http and not _is_near(host):
            raise AgentError(
                f"{self.url} is not https: --insecure-http would let the network answer for it"
            )

    def get(
        self, path: str, *, limit: int, etag: str | None = None, patience: float = 0.0
    ) -> bytes | None:
        """Return what stands there, or None when it is still what `etag` names.

        `patience` is for how many seconds the server may keep its answer back.
        """
        headers = {"If-None-Match": etag} if etag else {}
        return self._send(self._request(path, headers, None), limit, patience).body

    def time(self) -> datetime | None:
        """Return the server's time, unsigned, or None when it does not tell it."""
        return self._send(self._request("/v2", {}, None), _MAX_TIME).date

    def post(self, path: str, value: Any, *, limit: int) -> bytes:
        """Send JSON, and return the answer's body."""
        return self.send("POST", path, json.dumps(value).encode(), {}, limit=limit)

    def send(
        self, method: str, path: str, data: bytes, headers: dict[str, str], *, limit: int
    ) -> bytes:
        """Send a body that is JSON already, and return the answer's body."""
        headers = {"Content-Type": "application/json", **headers}
        body = self._send(self._request(path, headers, data, method), limit).body
        if body is None:
            raise Malformed(f"the server answered 304 to a {method}")
        return body

    def _request(
        self,
        path: str,
        headers: dict[str, str],
        data: bytes | None,
        method: str = "GET",
    ) -> _Request:
        if self.carried:
            path, method, headers, data = _folded(method, path, headers, data), "GET", {}, None
        headers = {
            "User-Agent": f"tatu-agent/{VERSION}",
            "Accept": "*/*",
            "Connection": "close",
            **headers,
        }
        path = urlsplit(self.url).path.rstrip("/") + path
        if self.carried and len(path) > _MAX_CARRIED:
            said = f"{len(path)} characters of {_MAX_CARRIED}: the metadata address takes no more"
            raise Answered(TOO_LARGE, said)
        return _Request(method, path, headers, data)

    def _send(self, request: _Request, limit: int, patience: float = 0.0) -> _Answer:
        """Return the answer, or raise `AgentError` when the deadline for all of it has passed.

        The sockets know silence only: a byte a second in the headers, or `100 Continue` without
        end, is none. Whoever waits here cuts the line, or each request would leave a thread.
        """
        answers: queue.Queue[_Answer | Exception] = queue.Queue()
        line = _Line()

        def ask() -> None:
            try:
                answers.put(self._ask(request, limit, _SILENCE + patience, line))
            except Exception as error:  # noqa: BLE001 (raised again by whoever waits)
                answers.put(error)

        threading.Thread(target=ask, name="tatu-http", daemon=True).start()
        try:
            answer = answers.get(timeout=_DEADLINE + patience)
        except queue.Empty:
            line.cut()
            raise AgentError(f"the server's answer took over {_DEADLINE:.0f} seconds") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, request: _Request, limit: int, silence: float, line: _Line) -> _Answer:
        # Follows nothing, and knows no proxy: the one server that was named answers
        try:
            with closing(self._connection(silence)) as connection:
                connection.connect()
                line.hold(connection.sock)
                connection.request(request.method, request.path, request.data, request.headers)
                with connection.getresponse() as response:
                    date = _date(response.headers.get("Date", ""))
                    if response.status == _NOT_MODIFIED:
                        return _Answer(None, date)
                    if response.status not in _OK:
                        raise _problem(response)
                    if not self.carried:
                        return _Answer(_body(response, limit), date)
                    carried = _body(response, 2 * limit + _MAX_PROBLEM)
                    return _Answer(_unwrapped(carried, limit), date)
        except (OSError, ValueError, http.client.HTTPException) as error:
            _tls.cache_clear()  # the authorities' file may have been replaced
            said = plain(str(error), _MAX_SAID)
            raise AgentError(f"cannot reach {self.url}: {said}") from error

    def _connection(self, silence: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            tls = _tls(self.ca_file)
            return http.client.HTTPSConnection(host, parts.port, timeout=silence, context=tls)
        return http.client.HTTPConnection(host, parts.port, timeout=silence)


def check_authorities(ca_file: str) -> None:
    """Raise `AgentError` unless TLS can be checked by these authorities."""
    _tls(ca_file)


@functools.lru_cache(maxsize=2)
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Return what checks the server; reading the system's authorities is most of a request."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # of TLS as well
        said = plain(error.strerror or str(error), _MAX_SAID)
        raise AgentError(f"cannot read {ca_file or 'the TLS authorities'}: {said}") from error


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is; raises `Malformed`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed("the server's answer is not JSON") from error
    if not isinstance(value, dict):
        raise Malformed("the server's answer is no JSON object")
    return value


def text(value: dict[str, Any], name: str) -> str:
    """Return a text of an answer; raises `Malformed`."""
    found = value.get(name)
    if isinstance(found, str):
        # JSON can name halves of characters, which no text has
        with suppress(UnicodeEncodeError):
            found.encode()
            return found
    raise Malformed(f"the server's answer has no {name} that is a text")


def _is_near(host: str) -> bool:
    if host in ("localhost", METADATA):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _date(text: str) -> datetime | None:
    """Return a time as HTTP writes it (RFC 9110, section 5.6.7), or None for anything else."""
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _body(response: Any, limit: int) -> bytes:
    """Read to the end, unless it is too much."""
    announced = response.headers.get("Content-Length")
    found = b""
    while True:
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        found += chunk
        if len(found) > limit:
            raise AgentError(f"the server's answer is over {limit} bytes")
    if announced is not None and announced != str(len(found)):
        raise AgentError("the server's answer was cut short")
    return found


def _folded(method: str, path: str, headers: dict[str, str], data: bytes | None) -> str:
    """Return the path that a request is put into: no header or body would come through whole."""
    value = {"method": method, "path": path, "body": (data or b"").decode()}
    value.update((_CARRIED[name], text) for name, text in headers.items() if name in _CARRIED)
    packed = base64.urlsafe_b64encode(zlib.compress(json.dumps(value).encode(), 9))
    return f"/v2/carried?request={packed.decode().rstrip('=')}"


def _unwrapped(body: bytes, limit: int) -> bytes | None:
    """Return the answer that was carried in another."""
    answer = parsed(body)
    status = answer.get("status")
    try:
        data = base64.b64decode(text(answer, "body"), validate=True)
    except ValueError as error:
        raise Malformed("the carried answer is not base64") from error
    if type(status) is not int:
        raise Malformed("the carried answer has no status")
    if status == _NOT_MODIFIED:
        return None
    if status >= _REFUSED:
        raise Answered(status, _said(status, data))
    if len(data) > limit:
        raise AgentError(f"the server's answer is over {limit} bytes")
    return data


def _problem(response: http.client.HTTPResponse) -> Answered:
    try:
        body = _body(response, _MAX_PROBLEM)
    except (AgentError, OSError, http.client.HTTPException):
        body = b""
    return Answered(response.status, _said(response.status, body))


def _said(status: int, body: bytes) -> str:
    """Return what the server said (RFC 9457), with its number for the request."""
    try:
        problem = json.loads(body)
        said = f"{problem['detail']} (request {problem['request_id']})"
    except _NO_PROBLEM:
        said = "no reason given"
    return f"the server answered {status}: {plain(said, _MAX_SAID)}"
