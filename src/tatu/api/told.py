"""What hosts tell, as it is read from their requests (security.md S19)."""

from datetime import UTC, datetime

from tatu.api.hostschemas import LoginTold, SessionTold
from tatu.api.operation import Call
from tatu.core import canonical
from tatu.core.claims import ClaimedCertificate
from tatu.core.errors import Malformed

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def moment(at: datetime) -> datetime:
    """Return a host's time; raises `Malformed` for one that could not be shown in every zone."""
    if not _EARLIEST <= at < _LATEST:
        raise Malformed(f"body: a time is between {_EARLIEST.year} and {_LATEST.year}")
    return at.astimezone(UTC)


def certificate(told: SessionTold) -> ClaimedCertificate:
    """Return a session's certificate."""
    return ClaimedCertificate(
        serial=_serial(told.serial),
        key_id=told.key_id,
        subject_key=told.subject_key,
        signature_key=told.signature_key,
    )


def certificate_or_none(told: LoginTold) -> ClaimedCertificate | None:
    """Return a login's certificate, if there was one; raises `Malformed` for half of one."""
    match told.serial, told.key_id, told.subject_key, told.signature_key:
        case int() as serial, str() as key_id, str() as subject_key, str() as signature_key:
            return ClaimedCertificate(
                serial=_serial(serial),
                key_id=key_id,
                subject_key=subject_key,
                signature_key=signature_key,
            )
        case None, None, None, None:
            return None
    raise Malformed("body: of a certificate tell serial, key_id, subject_key and signature_key")


def _serial(told: int) -> int:
    if told >= 2**64:
        raise Malformed("body: a serial has 64 bits")
    return told


def proof(call: Call) -> str:
    """Return the signed request as it is kept: enough for `ssh-keygen -Y verify`."""
    caller = call.host_caller
    return canonical.text(
        {
            "message": caller.message.decode(),
            "signature": caller.signature,
            "body": caller.body.decode(),
        }
    )
