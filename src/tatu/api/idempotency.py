"""A repeated POST does nothing twice: its answer is kept for a day (security.md S10).

Whoever repeats is authenticated anew and passes the same rules first; what is kept holds no
secret, and a certificate that was revoked meanwhile is never handed out again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tatu.api.operation import Call, Operation
from tatu.api.schemas import BatchShown, CertificateShown
from tatu.core.errors import Gone, Malformed
from tatu.ports import StoredAnswer

HEADER = "Idempotency-Key"

_KEY = re.compile(r"[!-~]{1,128}")


def answer(call: Call, operation: Operation, run: Callable[[], Any]) -> StoredAnswer:
    """Return the answer, made now or the first time.

    Raises `Malformed` when the operation's answers are never kept, `Conflict` when the key
    is another request's, `Gone` when a certificate in the answer is revoked.
    """
    text = call.request.get_header(HEADER)
    if text is None:
        return _stored(operation, run())
    if not operation.kept:
        # A caller who believes that a repeat is safe must learn that here it is not.
        raise Malformed("the answer to this request is never kept; leave Idempotency-Key out")
    if not _KEY.fullmatch(text):
        raise Malformed("an Idempotency-Key is 1 to 128 printable ASCII characters, no blanks")
    parts, caller = call.parts, call.caller
    key = _digest("key", caller.issuer, caller.subject, caller.project or "", text)
    digest = _digest(
        call.facts.method, call.facts.path, call.request.query_string, call.facts.body_digest
    )
    kept = parts.ledger.idempotency.begin(key, digest, parts.clock())
    if kept is not None:
        _refuse_revoked(call, kept)
        return kept
    try:
        made = _stored(operation, run())
        parts.ledger.idempotency.finish(key, made)
    except BaseException:  # whatever went wrong, there is no answer: the claim must not stand
        parts.ledger.idempotency.abandon(key)
        raise
    return made


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _stored(operation: Operation, result: Any) -> StoredAnswer:
    if result is None:
        body = b""
    elif isinstance(result, bytes):
        body = result
    else:
        body = msgspec.json.encode(result)
    return StoredAnswer(
        status=operation.status, body=body, certificates=tuple(_certificates(result))
    )


def _certificates(result: Any) -> Iterator[tuple[str, int]]:
    match result:
        case CertificateShown():
            yield result.authority, result.serial
        case BatchShown():
            for item in result.items:
                if item.certificate is not None:
                    yield item.certificate.authority, item.certificate.serial


def _refuse_revoked(call: Call, kept: StoredAnswer) -> None:
    for authority, serial in kept.certificates:
        found = call.parts.ledger.certificates.get(authority, serial, scope=(authority,))
        if found.revoked_at is not None:
            raise Gone(f"certificate {serial} of authority {authority!r} was revoked since")
