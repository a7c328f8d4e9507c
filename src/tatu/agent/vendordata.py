"""What the platform tells an instance: how to enrol (the answer to Nova, or all of vendor_data2).

Data only: nothing of it is run, and the keys in it must be those that the token names.
"""

from __future__ import annotations

import json
from typing import Any

from tatu.agent import token
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.keys import public_key
from tatu.agent.token import EnrolmentToken

MAX_SIZE = 2**20

_KEY = "tatu"
"""Under which Nova puts our answer: `vendordata_dynamic_targets = tatu@https://…`."""

_VERSION = 1
_TEXTS = ("authority", "host", "url")


def invitation(text: str) -> EnrolmentToken:
    """Return the enrolment token; raises `AgentError` when there is none, `Malformed`."""
    told = _told(text)
    if told.get("version") != _VERSION:
        raise Malformed(f"the vendordata is not of version {_VERSION}: this agent is too old")
    if "token" not in told:
        raise AgentError(
            "the vendordata has no token: this instance enrolled already, or is too old;"
            " an operator can admit it again"
        )
    keys = told.get("statement_keys")
    if not isinstance(told["token"], str) or not isinstance(keys, list):
        raise Malformed("the vendordata is damaged")
    found = EnrolmentToken.parse(told["token"])
    for name in _TEXTS:
        if told.get(name) != getattr(found, name):
            raise Malformed(f"the vendordata names another {name} than its token")
    if not all(isinstance(line, str) for line in keys):
        raise Malformed("the vendordata is damaged")
    if token.trust_digest(map(public_key, keys)) != found.trust:
        raise Malformed("the vendordata has other statement keys than its token names")
    return found


def _told(text: str) -> dict[str, Any]:
    """Return our answer: as it is, or as Nova hands it on, among those of others."""
    if len(text) > MAX_SIZE:
        raise Malformed(f"the vendordata is over {MAX_SIZE} characters")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("the vendordata is not JSON") from None
    if isinstance(told, dict) and "version" not in told:
        told = told.get(_KEY)
    if not isinstance(told, dict) or not told:
        raise AgentError("the vendordata has nothing from Tatu: it did not answer Nova; try again")
    return told
