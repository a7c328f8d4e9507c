"""What is wrong with this host, or might surprise its operator: `tatu-agent doctor`.

Looks, and changes nothing. What it finds here is told to Tatu as well: names of files and
accounts, never what is in them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tatu.agent import (
    accounts,
    files,
    hooks,
    install,
    pam,
    place,
    signatures,
    sshd,
    sudoers,
    unattended,
    unit,
)
from tatu.agent.errors import AgentError
from tatu.agent.freshness import CLOCK_TOLERANCE, staleness
from tatu.agent.http import Server
from tatu.agent.layout import Layout
from tatu.agent.state import State, Store, check_machine
from tatu.agent.statement import REFUSE_NEW_LOGINS
from tatu.agent.sync import warnings
from tatu.agent.text import plain

ERROR, WARNING, INFO = "error", "warning", "info"

_MAX_FINDINGS = 200
_MAX_ABOUT, _MAX_DETAIL = 255, 1000
"""As Tatu takes them: of a report that it refuses it knows nothing."""
_MAX_PASSWD = 4 * 2**20
_HOME = 5  # which field of passwd(5)
_WARNING = "warning: "
_KEEPING = (b"running", b"start")  # and none of auto-restart, which is what a loop waits in


@dataclass(frozen=True)
class Finding:
    """Something to look at; of level `info` when nothing is to be done."""

    level: str
    about: str
    detail: str

    def told(self) -> dict[str, str]:
        """Return it as the report and `--json` have it."""
        return asdict(self)


def findings(layout: Layout, store: Store, state: State | None, now: datetime) -> list[Finding]:
    """Return what there is to find, what is worst first."""
    if state is None:
        return [Finding(ERROR, "enrolment", "this host is not enrolled: tatu-agent enrol")]
    looks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _identity(layout, state, now),
        lambda: _service(layout, state, now),
        lambda: _clock(state, now),
        lambda: _files(layout, store, state, now),
        lambda: _sshd(layout, state, now),
        lambda: _group(layout),
        lambda: _keys(layout, state),
    )
    found = [each for look in looks for each in _tried(look)]
    found.sort(key=lambda each: (ERROR, WARNING, INFO).index(each.level))
    return [_plain(each) for each in found[:_MAX_FINDINGS]]


def _tried(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a look finds, and what kept it from looking further."""
    try:
        yield from look()
    except (AgentError, OSError) as error:
        yield Finding(ERROR, "doctor", str(error))


def _plain(found: Finding) -> Finding:
    """Return it as short lines: names of files may hold anything."""
    return Finding(found.level, plain(found.about, _MAX_ABOUT), plain(found.detail, _MAX_DETAIL))


def _identity(layout: Layout, state: State, now: datetime) -> Iterator[Finding]:
    """Yield whether this is the enrolled machine, in step, and what the agent warns of."""
    try:
        check_machine(state.machine, layout.root)
    except AgentError as error:
        yield Finding(ERROR, "enrolment", str(error))
    newest = state.newest
    stale = staleness(newest, now)
    if stale:
        level = ERROR if newest.freshness_policy == REFUSE_NEW_LOGINS else WARNING
        if now < newest.issued:
            yield Finding(level, "clock", stale)
        else:
            yield Finding(level, "statement", f"{stale}, or the clock is ahead: compare it first")
    for line in warnings(layout, state, now):
        text = line.removeprefix(_WARNING)
        if text != stale:
            yield Finding(WARNING, "enrolment", text)


def _clock(state: State, now: datetime) -> Iterator[Finding]:
    """Yield how far this clock is from the server's: by five minutes, Tatu hears no host any more.

    Nobody signed that time: it is for a person to look at, and nothing is judged by it.
    """
    begun = time.monotonic()
    told = Server(state.url, state.ca_file, state.insecure_http).time()
    if told is None:
        return
    # it was that time at some moment of the request, however long that took
    ahead = now - told
    behind = -ahead - timedelta(seconds=time.monotonic() - begun)
    for apart, which in ((ahead, "ahead of"), (behind, "behind")):
        if apart > CLOCK_TOLERANCE:
            detail = f"it is {int(apart.total_seconds())} seconds {which} the server's"
            yield Finding(WARNING, "clock", detail)


def _service(layout: Layout, state: State, now: datetime) -> Iterator[Finding]:
    """Yield whether anything keeps this host in step: without it no revocation reaches it.

    Where systemd runs, its unit does; elsewhere the age of the newest statement tells, since Tatu
    replaces each when half of its lifetime is over.
    """
    newest = state.newest
    age = now - newest.issued
    if layout.systemd.is_dir():
        shown = signatures.run(["systemctl", "show", "--property=SubState", "--value", unit.NAME])
        if shown.strip() not in _KEEPING:
            detail = "it does not run, and no revocation reaches this host: tatu-agent setup"
            yield Finding(WARNING, unit.NAME, detail)
    elif age > (newest.expires - newest.issued) / 2 + CLOCK_TOLERANCE:
        detail = f"the newest statement is {int(age.total_seconds())} seconds old: keep it running"
        yield Finding(WARNING, "tatu-agent run", detail)


def _files(layout: Layout, store: Store, state: State, now: datetime) -> Iterator[Finding]:
    """Yield which of the agent's files are not as it wrote them: the next run puts them right."""
    for path, data in install.expected(layout, store, state, now).items():
        yield from _compared(path, data)
    newest = state.newest
    managed = accounts.of(layout).managed(newest.managed)
    if layout.sudoers.parent.is_dir():
        yield from _compared(layout.sudoers, sudoers.rules(managed, newest))
    elif newest.sudo:
        yield Finding(WARNING, "sudo", f"{', '.join(newest.sudo)} may use it, but it is not here")
    alone = unattended.allowed(layout, newest)
    for name in sorted(alone):
        detail = f"{layout.unattended} lets it run jobs, which no revocation of a certificate ends"
        yield Finding(INFO, f"account {name}", detail)
    services = [*pam.UNATTENDED, pam.SSHD, *(pam.SUDO if newest.pam_sudo else ())]
    for service in services:
        if (layout.pam / service).exists() and not pam.present(layout, service):
            yield Finding(WARNING, str(layout.pam / service), "the agent's lines are missing")
    if layout.systemd.is_dir():
        yield from _compared(layout.user_manager, unattended.unit(layout, alone))
    for hook, source in hooks.SOURCES.items():
        path = layout.hooks / hook
        if path.exists():
            yield from _compared(path, source)


def _compared(path: Path, data: bytes) -> Iterator[Finding]:
    found = files.read(path, place.MAX_FILE + len(data))
    if found != data:
        detail = "it is missing" if found is None else "it is not as the agent wrote it"
        yield Finding(WARNING, str(path), detail)


def _sshd(layout: Layout, state: State, now: datetime) -> Iterator[Finding]:
    """Yield what keeps sshd from what is meant, whatever file it stands in."""
    managed = accounts.of(layout).managed(state.newest.managed)
    try:
        sshd.prove(layout, install.read_at_start(layout, state, now)[0], managed)
    except AgentError as error:
        yield Finding(ERROR, "sshd", str(error))
    if ("usepam", "yes") not in sshd.effective(layout) or not (layout.pam / "sshd").exists():
        detail = "sshd does not use it: sessions in managed accounts have no record, and are ended"
        yield Finding(WARNING, "PAM", detail)


def _group(layout: Layout) -> Iterator[Finding]:
    """Yield who is in the group and not the agent's: sshd closes it to all but certificates."""
    for name in accounts.of(layout).strangers():
        detail = f"it is in group {layout.group}, and not an account that the agent made"
        yield Finding(WARNING, f"account {name}", detail)


def _keys(layout: Layout, state: State) -> Iterator[Finding]:
    """Yield whose authorized_keys there are: no revocation reaches what they let in (S13).

    What is in them is not read: their owners choose what the names lead to.
    """
    managed = set(accounts.of(layout).managed(state.newest.managed))
    shown = dict(sshd.effective(layout))
    for name, home in _homes(layout):
        for path in _key_files(shown.get("authorizedkeysfile", "none"), name, home):
            if not _has_something(path):
                continue
            if name in managed:
                detail = f"somebody made {path}, by which nobody gets in"
                yield Finding(WARNING, f"account {name}", detail)
            else:
                detail = f"{path} lets in whom no authority revokes"
                yield Finding(INFO, f"account {name}", detail)


def _homes(layout: Layout) -> Iterator[tuple[str, Path]]:
    text = (files.read(layout.root / "etc/passwd", _MAX_PASSWD) or b"").decode(errors="replace")
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > _HOME and fields[_HOME].startswith("/"):
            yield fields[0], layout.root / fields[_HOME].lstrip("/")


def _key_files(patterns: str, name: str, home: Path) -> Iterator[Path]:
    """Yield what sshd_config(5) means by an AuthorizedKeysFile for an account."""
    tokens = {"%%": "%", "%h": str(home), "%u": name}
    for pattern in patterns.split():
        if pattern != "none":
            yield home / re.sub("%.", lambda found: tokens.get(found[0], found[0]), pattern)


def _has_something(path: Path) -> bool:
    try:
        return path.lstat().st_size > 0
    except OSError:
        return False
