"""What Nova asks for an instance, once for each time that the instance reads its metadata."""

from uuid import UUID

from tatu.api.hostschemas import VendordataRequest, VendordataShown
from tatu.api.operation import Call, operation
from tatu.service.statements import statement_keys

_VERSION = 1


@operation(rule="tatu:vendordata:create", remembered=True, audited=True)
def nova(call: Call, body: VendordataRequest) -> VendordataShown:
    """Tell an instance how to enrol.

    The project is the instance's, not the caller's: the rule alone lets in whom Nova asks with.
    """
    found = call.parts.instances.vendordata(
        call.caller,
        str(UUID(body.instance_id)),
        body.project_id,
        request_id=call.request_id,
    )
    return VendordataShown(
        version=_VERSION,
        authority=found.authority.id,
        host=found.host,
        url=found.url,
        statement_keys=[key.line for key in statement_keys(found.authority)],
        token=None if found.token is None else str(found.token),
    )
