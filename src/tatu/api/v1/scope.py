"""Which projects a request of this wire is about (security.md S10).

An id in a body must be the token's own (403), whether or not there is such a project; an id in a
path that is another's is not there (404). Administrators may name other projects in both.
"""

from tatu.api.endpoint import audit_denial
from tatu.api.operation import Call
from tatu.api.v1.door import Refused, refused
from tatu.api.v1.ids import spellings, undashed
from tatu.core.authority import Authority
from tatu.core.errors import Denied

ALL_PROJECTS = "X-Auth-All-Projects"
ONE_PROJECT = "X-Auth-Sudo-Project-Id"


def of_lists(call: Call) -> tuple[str, ...] | None:
    """Return the authorities whose things are listed; None is all.

    They are the caller's own, unless a header asks for others and the caller may see those.
    """
    if one := call.request.get_header(ONE_PROJECT):
        return (authority(call, one).id,)
    project = call.caller.project
    everything = call.request.get_header(ALL_PROJECTS, default="").lower() == "true"
    return call.scope if everything or project is None else (project,)


def is_own(call: Call, project_id: str) -> bool:
    """Whether an id is that of the token's project."""
    project = call.caller.project
    return project is not None and undashed(project) == undashed(project_id)


def check_own(call: Call, project_id: str) -> None:
    """Raise `Denied` for another project than the token's, if not by an administrator."""
    if not is_own(call, project_id) and call.scope is not None:
        raise denied(call, "auth_id is not the project of the token")


def denied(call: Call, reason: str) -> Denied:
    """Return the refusal of what names somebody else's, written down some times."""
    caller, req = call.caller, call.request
    where = f"{req.method} {req.uri_template}"
    audit_denial(call.parts, caller, req, where, caller.project, reason=reason)
    return Denied(reason)


def authority(call: Call, project_id: str) -> Authority:
    """Return the authority of a project that the caller may know of.

    Raises the original's 404.
    """
    if is_own(call, project_id) or call.scope is None:
        return anybodys(call, project_id)
    raise no_authority()


def anybodys(call: Call, project_id: str) -> Authority:
    """Return the authority of a project, for whoever asks. Raises the original's 404."""
    only = spellings(project_id)
    for found in call.parts.authorities.list(only=only, limit=len(only), marker=None).items:
        return found
    raise no_authority()


def no_authority() -> Refused:
    """Return the refusal of an authority that is not there."""
    return refused(404, "No Authority found with that ID")
