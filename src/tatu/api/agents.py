"""The agents that hosts fetch, for anyone: whoever fetches one knows its digest, or its signer."""

from tatu.agentfile import Agent
from tatu.api.conditional import FOR_EVER, OCTETS, is_known
from tatu.api.operation import Call, operation
from tatu.api.schemas import Hex
from tatu.core.errors import NotFound

_SHORT = "public, max-age=60"


@operation(public=True, media=OCTETS)
def newest(call: Call) -> bytes:
    """Return the agent of this version."""
    agent = call.parts.agents[0]
    return b"" if is_known(call, f'"{agent.digest}"', _SHORT) else agent.data


@operation(public=True, media=OCTETS)
def show(call: Call, digest: Hex) -> bytes:
    """Return the agent of this SHA-256: these bytes for ever."""
    agent = _named(call, digest)
    return b"" if is_known(call, f'"{digest}"', FOR_EVER) else agent.data


@operation(public=True, media="text/plain")
def signature(call: Call, digest: Hex) -> bytes:
    """Return an agent's release signature (`release@tatu`), armored."""
    agent = _named(call, digest)
    if not agent.signature:
        raise NotFound("nobody signed this agent as a release")
    known = is_known(call, f'"{digest}"', _SHORT)
    return b"" if known else agent.signature.encode()


def _named(call: Call, digest: str) -> Agent:
    for agent in call.parts.agents:
        if agent.digest == digest:
            return agent
    raise NotFound("there is no such agent here")
