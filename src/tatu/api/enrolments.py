"""Hosts that redeem their enrolment token.

Strangers are limited by address. A host is limited when it is proven: if its name alone counted,
whoever knows the name could keep it from enrolling.
"""

import structlog

from tatu.api import limits
from tatu.api.operation import Call, operation
from tatu.api.schemas import EnrolmentRequest, EnrolmentShown
from tatu.core.keys import PublicKey
from tatu.service.enrolment import Redemption, Unproven

LOG = structlog.get_logger("tatu.api")


@operation(public=True, status=201, address_rate="enrolment_address")
def redeem(call: Call, body: EnrolmentRequest) -> EnrolmentShown:
    """Enrol a host's keys and certify them."""
    parts = call.parts
    rate = parts.settings.rates.enrolment_host
    redemption = Redemption(
        authority=body.authority,
        host=body.host,
        nonce=body.nonce,
        host_keys=tuple(PublicKey.parse(line) for line in body.host_keys),
        mac=body.mac,
        signatures=tuple(body.signatures),
    )
    try:
        answer = parts.enrolment.redeem(
            redemption,
            count=lambda: limits.take(parts, "enrolment-host", rate, body.authority, body.host),
            request_id=call.request_id,
        )
    except Unproven as error:
        call.shared.metrics.count_unproven(known=error.known)
        where = limits.address(call.request, parts.settings.trusted_proxies)
        LOG.warning("enrolment denied", known=error.known, where=where, id=call.request_id)
        raise
    return EnrolmentShown(answer=answer.text, mac=answer.mac)
