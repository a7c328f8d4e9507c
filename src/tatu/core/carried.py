"""Requests of instances in the query of a GET: all that a cloud's metadata path keeps whole.

Neutron's metadata agent reads from a request once, and 4,096 bytes of it: a body that comes a
moment later is lost, and what is longer is cut. It hands on no header, and of answers only those
of status 200 that are text. So a request travels as deflated JSON in base64url.
"""

import base64
import json
import zlib
from collections.abc import Mapping

from tatu.core.errors import Malformed

PATH = "/v2/carried"

_MAX = 65_536
"""Bytes of a request: far more than a query that comes through unfolds to by itself."""


def url(request: Mapping[str, str]) -> str:
    """Return the path and query by which a request is carried."""
    folded = zlib.compress(json.dumps(request).encode(), 9)
    return f"{PATH}?request={base64.urlsafe_b64encode(folded).decode().rstrip('=')}"


def unfolded(text: str) -> bytes:
    """Return the JSON that a query carries; raises `Malformed`.

    A kilobyte can name a megabyte, so no more is unfolded than is taken.
    """
    unfolding = zlib.decompressobj()
    try:
        folded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        found = unfolding.decompress(folded, _MAX)
    except (ValueError, zlib.error):
        raise Malformed("request: it is not deflated and in base64url") from None
    if not unfolding.eof or unfolding.unused_data:
        raise Malformed(f"request: it does not end, or is over {_MAX} bytes")
    return found
