"""The one place where errors become HTTP (RFC 9457)."""

import uuid

import falcon
import msgspec
import structlog
from falcon import Request, Response

from tatu.core import errors

LOG = structlog.get_logger("tatu.api")

PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request is not what it should be"),
    "unauthenticated": (401, "Who asks is not proven"),
    "denied": (403, "Who asks may not"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done to it"),
    "conflict": (409, "It contradicts what stands already"),
    "gone": (410, "It was there, and will not come back"),
    "length-required": (411, "The request does not say how long its body is"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is not of a type that is read here"),
    "too-many": (429, "Too many requests"),
    "internal": (500, "Something went wrong here"),
    "unavailable": (503, "Something that this depends on did not answer"),
}
"""Every slug with its status and title; `core.errors` has the slugs that are not of HTTP alone."""

_BY_STATUS = {status: slug for slug, (status, _) in PROBLEMS.items()}
_RETRY_UNAVAILABLE = 5


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong; `type` is `urn:tatu:problem:<slug>`."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = ""


class LengthRequired(errors.TatuError):
    """A body came without its length."""

    slug = "length-required"


class TooLarge(errors.TatuError):
    """A body is over the limit; nothing of it was read."""

    slug = "too-large"


class UnsupportedMediaType(errors.TatuError):
    """A body is not JSON."""

    slug = "unsupported-media-type"


def problem(slug: str, detail: str, request_id: str = "") -> Problem:
    """Describe what went wrong, as it is answered."""
    status, title = PROBLEMS[slug]
    return Problem(
        type=f"urn:tatu:problem:{slug}",
        title=title,
        status=status,
        detail=detail,
        request_id=request_id,
    )


def _write(req: Request, resp: Response, slug: str, detail: str) -> None:
    shown = problem(slug, detail, req.context.request_id)
    resp.status = shown.status
    resp.content_type = "application/problem+json"
    resp.data = msgspec.json.encode(shown)
    resp.text = None
    resp.delete_header("ETag")
    resp.set_header("Cache-Control", "no-store")


def tatu_error(req: Request, resp: Response, error: errors.TatuError, params: object) -> None:
    """Tell the caller what was refused, and when it may be tried again."""
    _write(req, resp, error.slug, str(error))
    match error:
        case errors.TooMany():
            resp.set_header("Retry-After", str(error.retry_after))
        case errors.Unavailable():
            resp.set_header("Retry-After", str(_RETRY_UNAVAILABLE))
        case _:
            pass


def unexpected(req: Request, resp: Response, error: Exception, params: object) -> None:
    """Hide a bug behind a number that the log knows.

    Of the error, the log has its class and where it arose, not its text: a library may have put
    into it what the caller sent.
    """
    number = uuid.uuid4().hex
    trace = error.__traceback__
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    LOG.error("bug", number=number, error=type(error).__qualname__, trace=" ".join(places[-12:]))
    _write(req, resp, "internal", f"this is a bug; the log has it as {number}")


def http_error(req: Request, resp: Response, error: falcon.HTTPError) -> None:
    """Give the framework's own refusals (no such route, a broken header) the same shape."""
    slug = _BY_STATUS.get(error.status_code, "malformed")
    details = {
        "not-found": "there is nothing at this path",
        "method-not-allowed": f"{req.method} cannot be done here",
    }
    _write(req, resp, slug, details.get(slug) or error.description or error.title or slug)
    resp.status = error.status_code
