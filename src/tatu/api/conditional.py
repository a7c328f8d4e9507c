"""Answers that a caller may have already (RFC 9110, section 13.1.2)."""

from tatu.api.operation import Call

FOR_EVER = "public, max-age=31536000, immutable"
OCTETS = "application/octet-stream"


def is_known(call: Call, etag: str, cache: str) -> bool:
    """Set the headers; make the answer a 304 when the caller has this."""
    call.response.set_header("ETag", etag)
    call.response.set_header("Cache-Control", cache)
    known = call.request.get_header("If-None-Match")
    if known is None or not (known == etag or _holds(known, etag)):
        return False
    call.response.status = 304
    return True


def _holds(listed: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in listed.split(",")]
    return tags == ["*"] or etag in tags
