"""Hosts that redeem their enrolment token."""

from tatu.api import limits
from tatu.api.operation import Call, operation
from tatu.api.schemas import EnrolmentRequest, EnrolmentShown
from tatu.core.keys import PublicKey
from tatu.service.enrolment import Redemption


@operation(public=True, status=201, address_rate="enrolment_address")
def redeem(call: Call, body: EnrolmentRequest) -> EnrolmentShown:
    """Enrol a host's keys and certify them."""
    parts = call.parts
    rates = parts.settings.rates
    limits.take(parts, "enrolment-host", rates.enrolment_host, body.authority, body.host)
    answer = parts.enrolment.redeem(
        Redemption(
            authority=body.authority,
            host=body.host,
            nonce=body.nonce,
            host_keys=tuple(PublicKey.parse(line) for line in body.host_keys),
            mac=body.mac,
            signatures=tuple(body.signatures),
        ),
        request_id=call.request_id,
    )
    return EnrolmentShown(answer=answer.text, mac=answer.mac)
