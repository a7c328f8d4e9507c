"""Enrolment: redeem a token once, and come to trust one authority (security.md S11)."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from tatu.agent import accounts, certificates, http, signatures, statement, token
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.http import Server
from tatu.agent.install import install
from tatu.agent.keys import public_key
from tatu.agent.layout import MAX_HOST_KEYS, Layout
from tatu.agent.state import State, Store, floored, machine
from tatu.agent.sync import adopt, verified, warnings
from tatu.agent.token import EnrolmentToken

_MAX_ANSWER = 2 * 2**20


def enrol(
    layout: Layout,
    store: Store,
    invitation: EnrolmentToken,
    server: Server,
    now: datetime,
) -> list[str]:
    """Enrol this host and return what an operator should know; doing it again changes nothing.

    Raises `AgentError`; then an earlier enrolment is still in force.
    """
    keys = layout.host_keys()
    if not 0 < len(keys) <= MAX_HOST_KEYS:
        raise AgentError(f"{layout.ssh} has {len(keys)} host keys, not 1 to {MAX_HOST_KEYS}")
    accounts.of(layout).claim()
    deployment = http.text(http.parsed(_got(server, "/v2")), "deployment")
    answer = _redeem(layout, server, invitation, deployment, keys)
    state = State(
        url=server.url,
        ca_file=server.ca_file,
        insecure_http=server.insecure_http,
        deployment=deployment,
        authority=invitation.authority,
        host=invitation.host,
        machine=machine(layout.root),
        certificates={},
        statement=http.text(answer, "statement"),
        signature=http.text(answer, "signature"),
    )
    _check(state, _earlier(store), certificates.lines(answer, "statement_keys"), invitation, now)
    given = certificates.checked(state, keys, certificates.lines(answer, "certificates"), now)
    state = State(**{**vars(state), "certificates": given})
    adopt(store, state, server)
    reloaded = install(layout, store, state, now)
    done = f"enrolled as {state.host} of {state.authority} at {state.url}"
    return [done + (", sshd reloaded" if reloaded else ""), *warnings(layout, state, now)]


def _earlier(store: Store) -> State | None:
    try:
        return store.load()
    except Malformed:
        return None  # it is damaged, and this enrolment replaces it


def _got(server: Server, path: str) -> bytes:
    body = server.get(path, limit=_MAX_ANSWER)
    if body is None:
        raise Malformed("the server answered 304 to an unconditional GET")
    return body


def _redeem(
    layout: Layout,
    server: Server,
    invitation: EnrolmentToken,
    deployment: str,
    keys: dict[str, str],
) -> dict[str, Any]:
    """Prove that this machine holds token and keys; return the answer, proven as well."""
    nonce = secrets.token_hex(32)
    message = token.message(
        deployment=deployment,
        authority=invitation.authority,
        host=invitation.host,
        nonce=nonce,
        host_keys=list(keys.values()),
    )
    request = {
        "authority": invitation.authority,
        "host": invitation.host,
        "nonce": nonce,
        "host_keys": list(keys.values()),
        "mac": invitation.request_mac(message),
        "signatures": [
            signatures.sign(message, layout.ssh / name, signatures.ENROL) for name in keys
        ],
    }
    envelope = http.parsed(server.post("/v2/enrolments", request, limit=_MAX_ANSWER))
    body = http.text(envelope, "answer").encode()
    invitation.check_answer(nonce, body, http.text(envelope, "mac"))
    answer = http.parsed(body)
    for name, expected in (
        ("deployment", deployment),
        ("authority", invitation.authority),
        ("host", invitation.host),
    ):
        if http.text(answer, name) != expected:
            raise Malformed(f"the answer is for another {name}")
    return answer


def _check(
    state: State,
    before: State | None,
    statement_keys: tuple[str, ...],
    invitation: EnrolmentToken,
    now: datetime,
) -> None:
    """Raise `AgentError` unless the token's authority signed this statement for this host, now.

    Within one enrolment versions only grow; another host or authority is a new start.
    """
    trusted = tuple(map(public_key, statement_keys))
    if token.trust_digest(trusted) != invitation.trust:
        raise AgentError("the statement keys are not those that the token names")
    new = verified(state.statement, state.signature, trusted)
    last = before.newest if before and before.receiver == state.receiver else None
    if before and last and before.statement == state.statement:
        return
    statement.accept(new, last, state.receiver, floored(now, last))
