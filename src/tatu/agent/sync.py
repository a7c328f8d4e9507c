"""Sync: fetch the newest statement, obey it if it may be obeyed, and put right what is not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import quote

from tatu.agent import VERSION, accounts, ending, http, signatures, statement
from tatu.agent.errors import AgentError, Unwritten
from tatu.agent.freshness import staleness
from tatu.agent.http import Server
from tatu.agent.install import admit, close, install
from tatu.agent.keys import HostCertificate
from tatu.agent.layout import Layout
from tatu.agent.state import (
    KRL_MAGIC,
    MAX_KRL,
    State,
    Store,
    floored,
    krl_digest,
    own,
)
from tatu.agent.statement import Statement

_MAX_ANSWER = 2**20  # a statement inside JSON: each of its quotes takes two bytes
_NEAR = timedelta(days=2)


class Unkept(AgentError):
    """`state` and its list are verified and cannot be kept: what they take away is gone anyway."""

    def __init__(self, state: State, krl: bytes, why: Unwritten) -> None:
        super().__init__(str(why))
        self.state = state
        self.krl = krl


def sync(layout: Layout, store: Store, clock: Callable[[], datetime]) -> list[str]:
    """Bring this host in step with its authority, and return what an operator should know.

    Raises `AgentError`; then the last statement that could be obeyed is still in force, and what
    of it was not in place has been put in place if that was possible.
    """
    state, failure = refresh(layout, store, clock)
    said = put_in_place(layout, store, state, clock)
    if failure:
        raise failure
    return [*said, *warnings(layout, state, clock())]


def refresh(
    layout: Layout, store: Store, clock: Callable[[], datetime]
) -> tuple[State, AgentError | None]:
    """Return the state after the newest statement, or as it was with why it still is that.

    Who is let in follows at once, by the age of the newest. Raises `AgentError` for a host that
    is not the enrolled one, and when there is a newer statement that cannot be kept.
    """
    state = enrolled(layout, store, clock())
    # Before anybody is asked: who answers may take long, and would keep a stale statement in force
    admit(layout, state.newest, clock())
    try:
        new = fetch(store, state, clock())
    except Unkept as error:
        _take_away(layout, store, state, error, clock())
        raise
    except AgentError as error:
        return state, error
    if new.statement != state.statement:
        admit(layout, new.newest, clock())
    return new, None


def enrolled(layout: Layout, store: Store, now: datetime) -> State:
    """Return the state of this very machine's enrolment.

    Without one nobody hears of revocations here: where there are managed accounts they are closed
    and their sessions end, but by break-glass, before `AgentError` is raised.
    """
    try:
        return own(store, layout.root)
    except AgentError:
        try:
            close(layout)
        finally:
            ending.end_all(layout, "this host has no enrolment of its own", now)
        raise


def _take_away(layout: Layout, store: Store, last: State, unkept: Unkept, now: datetime) -> None:
    """Apply what a statement that cannot be kept takes away, which needs no room.

    Where its list is another, who is on it is let in by the one in place: so nobody is. The last
    statement's list goes, so that nobody gets back by that, in whichever run, until one is kept.
    """
    new = unkept.state
    with suppress(AgentError):  # that there is no room is told already; what it can, each does
        store.forget_krl(last)
    with suppress(AgentError):
        admit(layout, new.newest, now)
    if new.newest.krl_digest != last.newest.krl_digest:
        with suppress(AgentError):
            close(layout)
    with suppress(AgentError, OSError):
        ending.enforce(layout, new, now, unkept.krl)


def put_in_place(
    layout: Layout, store: Store, state: State, clock: Callable[[], datetime]
) -> list[str]:
    """Have this host obey a state, and return what was done. Raises `AgentError`."""
    try:
        reloaded = install(layout, store, state, clock())
    finally:
        # Whatever could not be put in place: sessions end by what is
        ended = ending.enforce(layout, state, clock())
    newest = state.newest
    done = f"obeying statement {newest.version} with KRL {newest.krl_version}"
    return [done + (", sshd reloaded" if reloaded else ""), *ended]


def fetch(store: Store, state: State, now: datetime) -> State:
    """Return the state after the newest statement of the server, verified, with its list kept.

    Raises `AgentError`, and then nothing has changed.
    """
    last = state.newest
    server = Server(state.url, state.ca_file, state.insecure_http)
    path = f"/v2/authorities/{quote(state.authority, safe='')}/statement"
    body = server.get(path, limit=_MAX_ANSWER, etag=f'"{last.version}"')
    if body is None:
        return _whole(store, state, server)
    answer = http.parsed(body)
    text, signature = http.text(answer, "statement"), http.text(answer, "signature")
    if text == state.statement:
        return _whole(store, state, server)
    new = verified(text, signature, last.statement_keys)
    statement.accept(new, last, state.receiver, floored(now, last))
    return adopt(store, replace(state, statement=text, signature=signature), server)


def _whole(store: Store, state: State, server: Server) -> State:
    """Return the state, with its list fetched again should the kept one be damaged."""
    try:
        store.krl(state)
    except AgentError:
        return adopt(store, state, server)
    return state


def verified(text: str, signature: str, keys: tuple[str, ...]) -> Statement:
    """Return what a statement says, when one of the keys signed it; raises `AgentError`.

    The signature comes first: nothing is read of what nobody signed.
    """
    message = text.encode()
    if len(message) > statement.MAX_SIZE:
        raise AgentError(f"the statement is over {statement.MAX_SIZE} bytes")
    signatures.verify(message, signature, keys, signatures.STATEMENT)
    return statement.decode(message)


def adopt(store: Store, state: State, server: Server) -> State:
    """Fetch and check the revocation list of a verified statement, and remember both."""
    new = state.newest
    try:
        krl = store.krl(state)
    except AgentError:
        krl = _fetch_krl(state, new, server)
    if not krl.startswith(KRL_MAGIC) or int.from_bytes(krl[12:20], "big") != new.krl_version:
        # sshd takes an empty file as "nothing is revoked", and any text as a list of keys
        raise AgentError(f"the revocation list is no KRL of version {new.krl_version}")
    try:
        signatures.check_krl(store.stage(krl))
        store.save(state)
    except Unwritten as error:
        raise Unkept(state, krl, error) from error
    return state


def _fetch_krl(state: State, new: Statement, server: Server) -> bytes:
    path = f"/v2/authorities/{quote(state.authority, safe='')}/krl/{new.krl_version}"
    krl = server.get(path, limit=MAX_KRL)
    if krl is None or krl_digest(krl) != new.krl_digest:
        raise AgentError(f"the revocation list {new.krl_version} is not the one that was signed")
    return krl


def warnings(layout: Layout, state: State, now: datetime) -> list[str]:
    """Return what is not wrong yet, or not the agent's to put right."""
    newest = state.newest
    found = []
    stale = staleness(newest, now)
    if stale:
        found.append(f"warning: {stale}")
    if statement.numbers(VERSION) < newest.minimum_agent_version:
        wanted = ".".join(map(str, newest.minimum_agent_version))
        found.append(f"warning: this agent is {VERSION}, the authority asks for {wanted}")
    for name, reason in accounts.of(layout).in_the_way(newest.managed).items():
        found.append(f"warning: the account {name} opens to nobody: {reason}")
    keys = layout.host_keys()
    revoked = signatures.revoked(state.certificates.values(), layout.krl)
    for name, line in state.certificates.items():
        certificate = HostCertificate.parse(line)
        if certificate.subject_key != keys.get(name):
            found.append(f"warning: {name} is not the key that was enrolled: enrol again")
        if line in revoked:
            found.append(f"warning: the certificate of {name} is revoked: enrol this host again")
        ends = certificate.valid_before
        if ends - now < _NEAR:
            found.append(f"warning: the certificate of {name} ends at {ends:%Y-%m-%dT%H:%M:%SZ}")
    return found
