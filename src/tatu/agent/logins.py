"""Refused logins, from what sshd itself wrote into the journal (security.md S19).

Accepted ones are the PAM hook's. A line counts when sshd's service and program wrote it as root,
and its free texts (key IDs, names) are read as what they are: anybody can choose them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tatu.agent import accounts, files, spool
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.signatures import run

_AT_ONCE = 1000
_MAX_CURSOR = 1024
_MAX_DETAIL = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SYSTEMD = Path("/run/systemd/system")
_PROGRAMS = ("sshd", "sshd-session", "sshd-auth")
_UNIT = re.compile(r"sshd?(@.*)?\.service")

_FINGERPRINT = r"SHA256:[A-Za-z0-9+/]{43}"
_ACCOUNT = r"(?P<account>[a-z_][a-z0-9_-]{0,31})"
# The account has no blanks and the key ID stands alone between it and the end, so neither can pose
# as what is around it: `x (serial 1) CA ED25519 SHA256:...` is a key ID like any other
_REFUSED = re.compile(
    rf"Failed publickey for {_ACCOUNT} from (?P<source>[0-9a-fA-F.:]+) port \d+ ssh2: "
    rf"\S+-CERT (?P<subject_key>{_FINGERPRINT}) ID (?P<key_id>.*) "
    rf"\(serial (?P<serial>\d{{1,20}})\) CA \S+ (?P<signature_key>{_FINGERPRINT})"
)
_LEFT = re.compile(
    rf"(?:Connection \w+ by|Disconnected from) authenticating user {_ACCOUNT} "
    r"(?P<source>[0-9a-fA-F.:]+) port \d+ \[preauth\]"
)
# From 10.1 on the certificate is named first, its key ID between quotes that it may hold itself
_REASON = re.compile(
    rf'(?:error: )?(?:Refusing certificate ID ".*" serial=\d+ signed by \S+ CA {_FINGERPRINT}: )?'
    r"(?P<reason>Certificate invalid: [a-z ]+|Certificate does not contain an authorized principal"
    rf"|Authentication key \S+ {_FINGERPRINT} revoked by file \S+"
    r"|cert: Authentication tried for \S+ with valid certificate but not from a permitted .*)"
)


@dataclass(frozen=True)
class Line:
    """A line of sshd's; `cursor` is its place in the journal."""

    cursor: str
    at: datetime
    pid: str
    message: str


def collect(layout: Layout) -> None:
    """Spool the logins to managed accounts that were refused since the last time.

    The first time begins with what is yet to come. Raises `AgentError`.
    """
    if not _SYSTEMD.is_dir():
        return
    place = layout.state / "journal-cursor"
    cursor = (files.read(place, _MAX_CURSOR) or b"").decode(errors="replace")
    if not cursor:
        files.write(place, _end().encode(), 0o600)
        return
    try:
        found = _after(cursor)
    except AgentError:
        files.remove(place)  # a journal that is gone: begin anew
        raise
    for event in refused(filter(None, map(line, found)), accounts.of(layout).all()):
        spool.append(layout, event)
    if len(found) == _AT_ONCE:
        spool.lose(layout, 1)  # at least: there may have been more than are read at once
    if found:
        files.write(place, str(found[-1]["__CURSOR"]).encode(), 0o600)


def _end() -> str:
    printed = run(["journalctl", "--quiet", "--lines=0", "--show-cursor"]).decode()
    return printed.rpartition("cursor: ")[2].strip()


def _after(cursor: str) -> list[dict[str, Any]]:
    """Return what programs of sshd's name wrote as root, the newest of it."""
    fields = "--output-fields=MESSAGE,_PID,_COMM,_EXE,_SYSTEMD_UNIT"
    wanted = ["_UID=0", *(f"_COMM={name}" for name in _PROGRAMS)]
    shown = ["--quiet", "--no-pager", "--output=json", f"--lines={_AT_ONCE}", fields]
    printed = run(["journalctl", *shown, f"--after-cursor={cursor}", *wanted])
    try:
        return [json.loads(text) for text in printed.splitlines()]
    except ValueError as error:
        raise AgentError("journalctl wrote what is not JSON") from error


def line(entry: dict[str, Any]) -> Line | None:
    """Return a line that sshd's service wrote, or None: a link to `sudo` may be called sshd too.

    What is no text, or too long, journalctl shows as something else.
    """
    values = [entry.get(name) for name in ("MESSAGE", "_SYSTEMD_UNIT", "_COMM", "_PID")]
    if not all(isinstance(value, str) for value in values):
        return None
    message, unit, program, pid = map(str, values)
    path = Path(str(entry.get("_EXE", f"/usr/sbin/{program}")))
    if not _UNIT.fullmatch(unit) or path.name != program or path.parts[:2] != ("/", "usr"):
        return None
    at = _EPOCH + timedelta(microseconds=int(entry["__REALTIME_TIMESTAMP"]))
    return Line(cursor=str(entry["__CURSOR"]), at=at, pid=pid, message=message)


def refused(lines: Iterable[Line], managed: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield an event for each refusal; only sshd's more verbose log names the certificate."""
    reasons: dict[str, str] = {}
    for each in lines:
        reason = _REASON.fullmatch(each.message)
        if reason:
            reasons[each.pid] = reason["reason"][:_MAX_DETAIL]
            continue
        found = _REFUSED.fullmatch(each.message)
        # without a reason that was told before, whoever left offered no certificate
        if not found and each.pid in reasons:
            found = _LEFT.fullmatch(each.message)
        if not found:
            continue
        why = reasons.pop(each.pid, "")
        facts: dict[str, Any] = found.groupdict()
        if facts["account"] not in managed:
            continue
        if "serial" in facts:
            facts["serial"] = int(facts["serial"])
        if why:
            facts["detail"] = why
        yield {
            # told twice, it has the same id
            "id": hashlib.sha256(each.cursor.encode()).hexdigest()[:32],
            "at": f"{each.at:%Y-%m-%dT%H:%M:%SZ}",
            "kind": "refused",
            **facts,
        }
