"""The embedded directory, where there is one."""

from tatu.api.operation import Call
from tatu.core.errors import NotFound
from tatu.ports import Directory
from tatu.service.directory import Administration


def administration(call: Call) -> Administration:
    """Return what changes the directory. Raises `NotFound` when identities are not ours."""
    if call.parts.administration is None:
        raise NotFound("identities are administered elsewhere")
    return call.parts.administration


def directory(call: Call) -> Directory:
    """Return the directory. Raises `NotFound` when identities are not ours."""
    administration(call)
    return call.parts.ledger.directory
