"""Renewal: host certificates are replaced long before they end, by the keys that enrolled (S12).

Sessions stay: sshd is reloaded, which only who connects later notices.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from tatu.agent import certificates, request, signatures
from tatu.agent.errors import AgentError, Unfinished
from tatu.agent.install import install
from tatu.agent.keys import HostCertificate
from tatu.agent.layout import Layout
from tatu.agent.state import State, Store


def due(layout: Layout, state: State, now: datetime, *, told: bool = False) -> str | None:
    """Return why the certificates are to be renewed, or None; `told`: Tatu says that they are.

    Raises `AgentError` when that cannot be told.
    """
    if told:
        return "this host is called otherwise now"
    active = state.newest.host_authorities[:1]
    for name in request.enrolled_keys(layout, state):
        line = state.certificates[name]
        held = HostCertificate.parse(line)
        if now >= held.valid_after + (held.valid_before - held.valid_after) * 2 / 3:
            return "two thirds of their life are over"
        if held.signature_key not in active:
            return "another key signs host certificates now"
    return "they are revoked" if revoked(layout, state) else None


def revoked(layout: Layout, state: State) -> bool:
    """Say whether sshd's list has a certificate of this host's; raises `AgentError`."""
    names = request.enrolled_keys(layout, state)
    return bool(signatures.revoked([state.certificates[name] for name in names], layout.krl))


def renew(layout: Layout, store: Store, state: State, now: datetime) -> State:
    """Get certificates for what this host is called now, and have sshd show them.

    Raises `AgentError`; then those from before are still in use.
    """
    answer = request.signed(layout, state, "POST", "certificates", {}, now=now)
    given = {
        HostCertificate.parse(line).subject_key: line
        for line in certificates.lines(answer, "certificates")
    }
    keys = request.enrolled_keys(layout, state)
    ours = tuple(given[key] for key in keys.values() if key in given)
    found = certificates.checked(state, keys, ours, now)
    for name, line in found.items():
        # Whoever answers in Tatu's place has what Tatu signed before, for names that are no more
        before = HostCertificate.parse(state.certificates[name])
        if HostCertificate.parse(line).valid_after < before.valid_after:
            raise AgentError(f"the new certificate for {name} is older than the one in use")
        if signatures.is_revoked(line, layout.krl):
            raise AgentError(f"the new certificate for {name} is revoked")
    state = replace(state, certificates={**state.certificates, **found})
    store.save(state)
    with suppress(Unfinished):  # accounts, of which the next round tells: this is renewed
        install(layout, store, state, now)
    return state


def when_due(layout: Layout, store: Store, now: datetime) -> list[str]:
    """Renew if need be, and return what an operator should know; that it fails is a warning."""
    state = store.load()
    try:
        why = due(layout, state, now) if state else None
        if state and why:
            renew(layout, store, state, now)
    except AgentError as error:
        return [f"warning: the host certificates cannot be renewed: {error}"]
    return [f"host certificates renewed: {why}"] if why else []
