"""What Nova hands an instance of the original: how to enrol, and what to set up."""

from typing import Any

import msgspec

from tatu.api.operation import Call, operation
from tatu.api.v1 import scope, shown
from tatu.api.v1.ids import AnyId, dashed, undashed
from tatu.core import statement
from tatu.core.authority import Purpose
from tatu.core.errors import NotFound


class VendordataRequest(
    msgspec.Struct, rename={"project_id": "project-id", "instance_id": "instance-id"}
):
    """What Nova tells of an instance; the rest of it, user data too, is dropped unread (S21)."""

    project_id: AnyId
    instance_id: AnyId


@operation(rule="tatu:vendordata:create", status=201, remembered=True, audited=True)
def create(call: Call, body: VendordataRequest) -> dict[str, Any]:
    """Tell an instance how to enrol, and of which accounts and sudoers its project has.

    A text stands last: the scripts take all up to the next comma for a number or a truth.
    """
    parts = call.parts
    try:
        found = parts.instances.vendordata(
            call.caller,
            dashed(body.instance_id),
            undashed(body.project_id),
            legacy=True,
            request_id=call.request_id,
        )
    except NotFound as error:
        raise scope.no_authority() from error
    token = {}
    if found.admitted is not None:
        token = {"token": parts.admissions.legacy_token(found.admitted)}
        shown.link(call, "hosttokens", token["token"])
    told = statement.decode(parts.statements.newest(found.authority.id).statement)
    return {
        **token,
        "auth_pub_key_user": shown.signature_key(found.authority, Purpose.USER),
        "root_principals": "",
        "users": ",".join(told.accounts),
        "sudoers": ",".join(told.sudo),
        "ssh_port": parts.settings.original_wire.ssh_port,
        "pam_sudo": found.authority.profile.pam_sudo,
        "api_endpoint": found.url,
    }
