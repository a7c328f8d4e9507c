"""Which certificate opened which session, as the PAM hook wrote it down (`session_hook.sh`).

A session goes by its audit session id: the kernel gives it, every process of a login inherits it,
and only root can change it. A record stands for as long as any process of its session does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tatu.agent import files, hooks, keys, pam, spool
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.keys import UserCertificate
from tatu.agent.layout import Layout
from tatu.agent.processes import NOBODY
from tatu.agent.text import TIME, plain

_MAX_RECORD = 64 * 2**10
_FIELDS = {
    "session": int,
    "monitor": int,
    "started": int,
    "account": str,
    "certificate": str,
    "source": str,
    "at": str,
}


@dataclass(frozen=True)
class Session:
    """A login; `monitor` is sshd's process for it, `started` its start in ticks since the boot."""

    id: int
    monitor: int
    started: int
    account: str
    certificate: UserCertificate
    source: str
    at: datetime

    @classmethod
    def parse(cls, data: bytes) -> Session:
        """Read a record; raises `Malformed`."""
        try:
            facts = json.loads(data)
            if type(facts) is not dict:
                raise Malformed("a session's record is damaged")
            if {name: type(value) for name, value in facts.items()} != _FIELDS:
                raise Malformed("a session's record is damaged")
            if not 0 < facts["session"] < NOBODY:
                raise Malformed("the record is of no session: everything else runs in none")
            at = datetime.strptime(facts["at"], TIME).replace(tzinfo=timezone.utc)
        except (ValueError, RecursionError) as error:
            raise Malformed("a session's record is damaged") from error
        return cls(
            id=facts["session"],
            monitor=facts["monitor"],
            started=facts["started"],
            account=facts["account"],
            certificate=UserCertificate.parse(facts["certificate"]),
            source=facts["source"],
            at=at,
        )

    def told(self) -> dict[str, Any]:
        """Return what Tatu is told of the login (docs/protocol.md)."""
        certificate = self.certificate
        return {
            "account": self.account,
            "serial": certificate.serial,
            "key_id": plain(certificate.key_id, spool.MAX_TEXT),
            "subject_key": keys.fingerprint(certificate.subject_key),
            "signature_key": keys.fingerprint(certificate.signature_key),
            "source": self.source,
        }

    def reported(self) -> dict[str, Any]:
        """Return the session as the host's report lists it."""
        return {"id": self.id, **self.told(), "since": self.at.strftime(TIME)}


def record_logins(layout: Layout) -> bool:
    """Have sshd's PAM stack write the records, and say whether it had to be changed.

    Other accounts skip the hook: whatever is wrong with it, administrators get in. What gives the
    process its audit session stands in the file too, but behind modules that users can feed.
    Without such a file there are no records, and every session is ended. Raises `AgentError`.
    """
    if not (layout.pam / pam.SSHD).exists():
        return False
    hook = f"{hooks.command(layout, 'session')} {folder(layout)}"
    lines = (
        "session optional pam_loginuid.so",
        f"session [success=1 default=ignore] {pam.unmanaged(layout)}",
        f"session required pam_exec.so seteuid quiet type=open_session {hook}",
    )
    return pam.ensure(layout, pam.SSHD, lines)


def folder(layout: Layout) -> Path:
    """Return where the records are, each named by its session's id."""
    return layout.run / "sessions"


def all(layout: Layout) -> list[Session]:  # noqa: A001 (sessions.all)
    """Return the sessions in the order of their ids; a damaged record is none."""
    try:
        names = [path.name for path in folder(layout).iterdir()]
    except FileNotFoundError:
        return []
    numbers = sorted(int(name) for name in names if name.isascii() and name.isdigit())
    return [found for found in (of(layout, number) for number in numbers) if found]


def of(layout: Layout, session: int) -> Session | None:
    """Return the session with this audit session id, or None: who has no record has no rights."""
    try:
        data = files.read(folder(layout) / str(session), _MAX_RECORD)
        found = Session.parse(data) if data else None
    except AgentError:
        return None
    return found if found and found.id == session else None


def shown(layout: Layout, *, as_json: bool) -> str:
    """Return the sessions as an operator reads them, or as programs do."""
    listed = [session.reported() for session in all(layout)]
    if as_json:
        return json.dumps(listed, indent=1)
    columns = ("id", "account", "serial", "since", "source", "key_id")
    rows = [[name.upper() for name in columns]]
    rows += [[str(each[name]) for name in columns] for each in listed]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
