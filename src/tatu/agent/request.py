"""What this host asks of Tatu about itself, signed by its host key (security.md S12).

The same form as `tatu.core.hostrequest`; `tests/vectors/hostrequest` holds both.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tatu.agent import http, signatures
from tatu.agent.errors import AgentError
from tatu.agent.http import Server
from tatu.agent.keys import HostCertificate
from tatu.agent.layout import Layout
from tatu.agent.state import State, floored
from tatu.agent.text import TIME

_MAX_ANSWER = 2**18
_QUICKEST = ("ssh-ed25519", "ecdsa-sha2-")


def signed(
    layout: Layout, state: State, method: str, rest: str, value: Any, *, now: datetime
) -> dict[str, Any]:
    """Ask under this host's own path, and return the answer; empty when there is none.

    Raises `AgentError`.
    """
    place = f"{quote(state.authority, safe='')}/hosts/{quote(state.host, safe='')}"
    path = f"/v2/authorities/{place}/{rest}"
    body = json.dumps(value).encode()
    told = floored(now, state.newest).strftime(TIME)
    nonce = secrets.token_hex(16)
    text = message(state, method=method, path=path, body=body, time=told, nonce=nonce)
    armored = signatures.sign(text, layout.ssh / _key(layout, state), signatures.HOST)
    headers = {
        "Tatu-Host": f"{state.authority}/{state.host}",
        "Tatu-Time": told,
        "Tatu-Nonce": nonce,
        "Tatu-Signature": "".join(armored.splitlines()[1:-1]),
    }
    server = Server(state.url, state.ca_file, state.insecure_http)
    answer = server.send(method, path, body, headers, limit=_MAX_ANSWER)
    return http.parsed(answer) if answer else {}


def message(state: State, *, method: str, path: str, body: bytes, time: str, nonce: str) -> bytes:
    """Return what the host key signs (namespace `host@tatu`)."""
    facts = {
        "authority": state.authority,
        "body": hashlib.sha256(body).hexdigest(),
        "deployment": state.deployment,
        "host": state.host,
        "method": method,
        "nonce": nonce,
        "path": path,
        "time": time,
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def enrolled_keys(layout: Layout, state: State) -> dict[str, str]:
    """Return the host keys that are still those that enrolled, by the names of their files."""
    keys = layout.host_keys()
    return {
        name: keys[name]
        for name, line in state.certificates.items()
        if name in keys and keys[name] == HostCertificate.parse(line).subject_key
    }


def _key(layout: Layout, state: State) -> str:
    """Return the file of the enrolled key that signs with the least effort."""
    keys = enrolled_keys(layout, state)
    if not keys:
        raise AgentError("the host keys are not those that were enrolled: enrol again")

    def effort(name: str) -> int:
        quick = [n for n, kind in enumerate(_QUICKEST) if keys[name].startswith(kind)]
        return quick[0] if quick else len(_QUICKEST)

    return min(keys, key=effort)
