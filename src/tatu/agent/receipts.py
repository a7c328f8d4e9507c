"""What this host tells Tatu of itself: receipts, what happened, and how it is doing."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from tatu.agent import VERSION, files, request, sessions, spool
from tatu.agent.errors import Answered
from tatu.agent.http import TOO_LARGE
from tatu.agent.layout import Layout
from tatu.agent.state import State
from tatu.agent.text import TIME, plain

_AT_ONCE = 100
_BATCHES = 20
_PATIENCE = 60.0
"""Seconds: neither a full spool nor a slow server may hold up the rest of a round for long."""

_TIMEOUT = 10
_CONFLICT = 409
_NEVER_TAKEN = (400, TOO_LARGE)
"""Malformed, or too large: sent again it would be refused again."""
_MAX_TEXT = 200
_MAX_FINDINGS, _MAX_SESSIONS = 200, 1000
"""As Tatu takes them: of a report that it refuses it knows nothing."""
_MAX_OS_RELEASE = 16_384


def send_receipt(layout: Layout, state: State, now: datetime) -> bool:
    """Tell that the newest statement is in force here; return whether a renewal is due.

    One that Tatu does not know it is shown: its ledger was rolled back (S3). Raises `AgentError`.
    """
    newest = state.newest
    receipt = {
        "statement_version": newest.version,
        "krl_version": newest.krl_version,
        "krl_digest": newest.krl_digest,
        "at": now.strftime(TIME),
    }
    try:
        taken = request.signed(layout, state, "PUT", "receipt", receipt, now=now)
    except Answered as answer:
        if answer.status != _CONFLICT:
            raise
        shown = {"statement": state.statement, "signature": state.signature}
        taken = request.signed(layout, state, "PUT", "receipt", {**receipt, **shown}, now=now)
    return taken.get("renewal_due") is True


def flush(layout: Layout, state: State, now: datetime) -> bool:
    """Tell what happened, and forget it when Tatu has stored it; say whether something is left.

    At least once: killed in between, it is told again, and ids make that harmless. Raises
    `AgentError`.
    """
    many, until = _AT_ONCE, time.monotonic() + _PATIENCE
    for _ in range(_BATCHES):
        batch = spool.batch(layout, many)
        if not batch.events and not batch.lost:
            return False
        told = {"events": list(batch.events), "lost": batch.lost}
        try:
            request.signed(layout, state, "POST", "logins", told, now=now)
        except Answered as answer:
            if answer.status not in _NEVER_TAKEN or not batch.events:
                raise
            # One event that nobody can take must not keep back all that come after it
            if len(batch.events) > 1:
                many = len(batch.events) // 2
            else:
                spool.done(layout, replace(batch, lost=0))
                spool.lose(layout, 1)
        else:
            spool.done(layout, batch)
        if time.monotonic() >= until:
            break
    return True


def send_report(layout: Layout, state: State, told: dict[str, Any], now: datetime) -> None:
    """Tell how this host is doing, or half of it where that is too much. Raises `AgentError`."""
    try:
        request.signed(layout, state, "PUT", "report", told, now=now)
    except Answered as answer:
        parts = {name: told[name] for name in ("findings", "sessions")}
        if answer.status != TOO_LARGE or not any(parts.values()):
            raise
        halves = {name: found[: len(found) // 2] for name, found in parts.items()}
        send_report(layout, state, {**told, **halves}, now)


def report(layout: Layout, findings: Sequence[Any]) -> dict[str, Any]:
    """Return how this host is doing; `findings` are the doctor's.

    Who opens more sessions than a report takes hides some of them, and is told of instead.
    """
    live, found = sessions.all(layout), list(findings)
    if len(live) > _MAX_SESSIONS:
        [(account, _)] = Counter(session.account for session in live).most_common(1)
        detail = f"{len(live)} are open, {_MAX_SESSIONS} are listed; most are of {account}"
        found.insert(0, {"level": "warning", "about": "sessions", "detail": detail})
    return {
        "agent_version": VERSION,
        "openssh": _openssh(),
        "os": _os(layout),
        "findings": found[:_MAX_FINDINGS],
        "sessions": [session.reported() for session in live[:_MAX_SESSIONS]],
    }


def _openssh() -> str:
    try:
        done = subprocess.run(["ssh", "-V"], capture_output=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return plain(done.stderr.decode(errors="replace").partition(",")[0].strip(), _MAX_TEXT)


def _os(layout: Layout) -> str:
    text = files.read(layout.root / "usr/lib/os-release", _MAX_OS_RELEASE) or b""
    for line in text.decode(errors="replace").splitlines():
        if line.startswith("PRETTY_NAME="):
            return plain(line.partition("=")[2].strip("\"'"), _MAX_TEXT)
    return ""
