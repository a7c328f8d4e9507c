"""Requests of instances that come by the platform's metadata address, in one that it lets through.

What carries them there (Neutron's metadata agent) hands on a method and a path whole, and nothing
else (`core.carried`); and of answers only the text of those of status 200. So a request is put
into the query of another, and its answer into that one's. Nothing is believed of it that would
not be believed of the request.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from tatu.api import shapes
from tatu.api.hostschemas import CarriedQuery, CarriedRequest, CarriedShown
from tatu.api.operation import Call, operation
from tatu.core import carried
from tatu.core.errors import NotFound

_DECODER = msgspec.json.Decoder(CarriedRequest)
_KEPT = ("HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_USER_AGENT")
_SHOWN = ("etag", "retry-after")


@operation(public=True)
def carry(call: Call, query: CarriedQuery) -> CarriedShown:
    """Answer a request that no header and no status but 200 would come through with."""
    asked = shapes.decoded(_DECODER, carried.unfolded(query.request), "request")
    path, _, behind = asked.path.partition("?")
    decoded = unquote_to_bytes(path).decode("latin-1")  # as PEP 3333 has it
    if decoded == carried.PATH:
        raise NotFound("what is carried cannot carry")
    said: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        said.append((status, headers))

    answer = call.shared.app(_environment(call, asked, decoded, behind), start)
    data = b"".join(_chunks(answer))
    status, headers = said[-1]
    call.response.set_header("Cache-Control", "no-store")
    return CarriedShown(
        status=int(status.split()[0]),
        headers={name.lower(): text for name, text in headers if name.lower() in _SHOWN},
        body=base64.b64encode(data).decode(),
    )


def _chunks(answer: Any) -> Iterator[bytes]:
    if hasattr(answer, "close"):
        with closing(answer):
            yield from answer
    else:
        yield from answer


def _environment(call: Call, asked: CarriedRequest, path: str, query: str) -> dict[str, Any]:
    """Return what a server would hand on (PEP 3333); no token is among the headers."""
    outer, data = call.request.env, asked.body.encode()
    headers = {
        "HTTP_IF_NONE_MATCH": asked.if_none_match,
        "HTTP_TATU_HOST": asked.host,
        "HTTP_TATU_TIME": asked.time,
        "HTTP_TATU_NONCE": asked.nonce,
        "HTTP_TATU_SIGNATURE": asked.signature,
        "CONTENT_TYPE": "application/json" if data else None,
        "CONTENT_LENGTH": str(len(data)) if data else None,
    }
    return {
        **{
            name: value
            for name, value in outer.items()
            if not name.startswith(("HTTP_", "CONTENT_", "wsgi.input")) or name in _KEPT
        },
        **{name: text for name, text in headers.items() if text is not None},
        "REQUEST_METHOD": asked.method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_X_REQUEST_ID": call.request_id,
        "wsgi.input": io.BytesIO(data),
    }
