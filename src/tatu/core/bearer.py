"""Bearer tokens: their text, and the digest that alone is kept (security.md S7)."""

import base64
import hashlib
import re

from tatu.core.errors import Unauthenticated

SECRET = 32
"""Bytes of a token that nobody can guess."""

_PREFIX = "tatu_"  # so that scanners of repositories and logs know one when they see it
_TEXT = re.compile(re.escape(_PREFIX) + r"[A-Za-z0-9_-]{43}")


def text(secret: bytes) -> str:
    """Write a token; its secret has `SECRET` bytes."""
    return _PREFIX + base64.urlsafe_b64encode(secret).decode().rstrip("=")


def digest(token: str) -> str:
    """Return what the ledger knows a token by.

    A plain hash serves: whoever reads it would have to guess 256 bits.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def from_header(authorization: str | None) -> str:
    """Return the token of an Authorization header; raises `Unauthenticated`, never with it."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not _TEXT.fullmatch(token):
        raise Unauthenticated("a bearer token is needed")
    return token
