"""sudo by proof: whoever asks has the key of the certificate that opened their session (S15).

PAM runs `sudo_hook`, which runs this, as root, for each question of sudo. Everything that is not
as it should be refuses.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import secrets
import signal
import sys
import syslog
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tatu.agent import (
    files,
    forwarded,
    freshness,
    hooks,
    opening,
    pam,
    sessions,
    signatures,
    spool,
)
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.processes import NOBODY
from tatu.agent.sessions import Session
from tatu.agent.state import KRL_MAGIC, State, Store, floored
from tatu.agent.statement import Statement
from tatu.agent.text import TIME

_PATIENCE = 8.0
_AT_MOST = 10
_MAX_ENVIRONMENT = 8 * 2**20
_SOURCE = "source-address"


def ask_for_proof(layout: Layout, *, wanted: bool) -> None:
    """Have sudo's PAM stack run the check for managed accounts, or no more; raises `AgentError`.

    Others skip it. It stands first and decides alone: what comes behind it might ask for a
    password, or take one that is empty.
    """
    installed = [service for service in pam.SUDO if (layout.pam / service).exists()]
    lines = _check(layout) if wanted and installed else []
    for service in installed:
        if lines:
            pam.ensure(layout, service, lines)
        else:
            pam.remove(layout, service)


def _check(layout: Layout) -> list[str]:
    hook = f"{hooks.command(layout, 'sudo')} {hooks.program(layout)} {layout.root} {layout.group}"
    return [
        f"auth [success=2 default=ignore] {pam.unmanaged(layout)}",
        f"auth [success=done default=ignore] pam_exec.so seteuid quiet stdout {hook}",
        "auth requisite pam_deny.so",
    ]


@dataclass(frozen=True)
class Question:
    """Who asks sudo: the accounts as PAM has them, the audit session, and the agent they name."""

    account: str
    caller: str
    session: int
    agent: str

    @classmethod
    def of(cls, process: int, environment: Mapping[str, str]) -> Question:
        """Read what is known of sudo's process; raises `AgentError`.

        The agent's path is the caller's own word: sudo was started with it.
        """
        try:
            session = int(Path(f"/proc/{process}/sessionid").read_text())
            with Path(f"/proc/{process}/environ").open("rb") as file:
                given = file.read(_MAX_ENVIRONMENT).split(b"\0")
        except (OSError, ValueError) as error:
            raise AgentError("sudo's process cannot be read") from error
        name = b"SSH_AUTH_SOCK="
        found = next((word[len(name) :] for word in given if word.startswith(name)), b"")
        return cls(
            account=environment.get("PAM_USER", ""),
            caller=environment.get("PAM_RUSER", ""),
            session=session,
            agent=found.decode(errors="replace"),
        )


def main(arguments: list[str]) -> int:
    """Answer sudo's question: 0 if it was proven, 1 if not, with a line that says why."""
    signal.alarm(_AT_MOST)  # the last resort: PAM refuses when this process is killed
    with suppress(PermissionError):  # PAM has done so
        # Stopped at the right moment from the user's terminal, it would hold the spool's lock
        os.setsid()
    root, group = Path(arguments[0]), arguments[1]
    layout = Layout(root, root / "etc/ssh/sshd_config", "/usr/sbin/sshd", group, "")
    now = datetime.now(timezone.utc)
    session = why = None
    try:
        question = Question.of(os.getppid(), os.environ)
        session = asking(layout, question)
        prove(layout, session, question.agent, now)
        _note_root(layout, session)
    except (AgentError, OSError) as error:
        why = str(error)
    _tell(layout, now, session, why)
    if why is None:
        return 0
    sys.stdout.write(f"Tatu refuses sudo: {why}\n")
    return 1


def asking(layout: Layout, question: Question) -> Session:
    """Return the session that asks, as sshd's PAM hook wrote it down; raises `AgentError`."""
    if question.session == NOBODY:
        raise AgentError("this process belongs to no login")
    session = sessions.of(layout, question.session)
    if session is None:
        raise AgentError("this process belongs to no login by certificate")
    if not question.account == question.caller == session.account:
        raise AgentError(f"this login is to the account {session.account}")
    return session


def prove(layout: Layout, session: Session, agent: str, now: datetime) -> None:
    """Raise `AgentError` unless the session may have root now, and its user is there to prove it.

    The proof is a fresh challenge, signed by the very key of the certificate that let them in.
    """
    store = Store(layout.state)
    state = store.load()
    if state is None:
        raise AgentError("this host is not enrolled")
    permitted(session, state.newest, now)
    _check_not_revoked(store, state, session)
    if not agent:
        raise AgentError("no agent is forwarded: log in by `tatu ssh`")
    try:
        user = pwd.getpwnam(session.account)
    except KeyError as error:
        raise AgentError("there is no such account") from error
    message = challenge(state.host, session, secrets.token_hex(32), now)
    with forwarded.connected(agent, user, time.monotonic() + _PATIENCE) as connection:
        process, owner = connection.peer()
        if owner != user.pw_uid or not forwarded.serves(process, session):
            raise AgentError("SSH_AUTH_SOCK is not the agent of this login")
        signature = connection.sign(session.certificate, message)
    try:
        signatures.verify(message, signature, [session.certificate.subject_key], signatures.SUDO)
    except AgentError as error:
        raise AgentError("the agent's signature does not hold") from error


def permitted(session: Session, newest: Statement, now: datetime) -> None:
    """Raise `AgentError` unless the newest statement gives root to this session's certificate."""
    stale = freshness.staleness(newest, now)
    if stale:
        raise AgentError(f"what is revoked is not known: {stale}")
    if session.account not in newest.sudo:
        raise AgentError(f"the account {session.account} has no sudo")
    certificate = session.certificate
    why = opening.objection(certificate, session.account, newest)
    if why:
        raise AgentError(f"this login would be refused now: {why}")
    for reason, holds in (
        (
            "has ended: log in again",
            certificate.valid_after <= floored(now, newest) < certificate.valid_before,
        ),
        ("is for one command only", "force-command" not in certificate.critical_options),
        ("has an option that is not known", set(certificate.critical_options) <= {_SOURCE}),
        ("is not for where this login is from", _is_from(session)),
    ):
        if not holds:
            raise AgentError(f"the certificate of this login {reason}")


def _is_from(session: Session) -> bool:
    """Say whether a login came from where its certificate may be used, if it says where."""
    if _SOURCE not in session.certificate.critical_options:
        return True
    import ipaddress  # noqa: PLC0415 -- few say so, and every sudo would wait for it

    try:
        address = ipaddress.ip_address(session.source)
        listed = session.certificate.critical_options[_SOURCE].split(",")
        return any(address in ipaddress.ip_network(network) for network in listed)
    except ValueError:
        return False


def _check_not_revoked(store: Store, state: State, session: Session) -> None:
    """Raise `AgentError` unless the newest verified list is there and lacks the certificate."""
    krl = store.krl(state)
    # ssh-keygen takes an empty file for "nothing is revoked"
    if not krl.startswith(KRL_MAGIC):
        raise AgentError("the revocation list is none")
    if signatures.is_revoked(session.certificate.line, store.krl_path(state)):
        raise AgentError("the certificate of this login is revoked")


def challenge(host: str, session: Session, nonce: str, now: datetime) -> bytes:
    """Return what the certificate's key signs, as `tatu.core.sudo.SudoChallenge` reads it."""
    blob = base64.b64decode(session.certificate.line.split(" ")[1])
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    facts = {
        "account": session.account,
        "certificate": f"SHA256:{digest}",
        "host": host,
        "nonce": nonce,
        "session": str(session.id),
        "time": now.strftime(TIME),
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _note_root(layout: Layout, session: Session) -> None:
    """Leave a mark for when the session ends: with root it could have rewritten its traces."""
    folder = layout.run / "root"
    files.folder(folder, 0o700)
    files.write(folder / str(session.id), b"", 0o600)


def _tell(layout: Layout, now: datetime, session: Session | None, why: str | None) -> None:
    """Keep what happened for Tatu, and in the system's log, which has it when the disk is full."""
    account = os.environ.get("PAM_USER", "")
    kind = "sudo-accepted" if why is None else "sudo-refused"
    event: dict[str, Any] = {"kind": kind, "at": now.strftime(TIME), "account": account}
    if session:
        event.update(session.told())
    if why is not None:
        event["detail"] = why
    syslog.openlog("tatu-sudo", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    serial = session.certificate.serial if session else "none"
    syslog.syslog(
        syslog.LOG_NOTICE, ascii(f"{kind}: {account}, serial {serial} {why or ''}")[1:-1]
    )
    try:
        spool.append(layout, event)
    except AgentError as error:
        syslog.syslog(syslog.LOG_ERR, str(error))
