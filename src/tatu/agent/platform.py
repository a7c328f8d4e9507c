"""Enrolment by what the platform tells this instance, again and again until it succeeds.

What is on the config drive was told once; the metadata service asks Tatu anew each time. The two
are whose word cloud-init takes for all else on this machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from random import SystemRandom

from tatu.agent import files, vendordata
from tatu.agent.enrol import enrol
from tatu.agent.errors import AgentError
from tatu.agent.http import METADATA, Server
from tatu.agent.layout import Layout
from tatu.agent.signatures import run
from tatu.agent.state import Store, check_machine

_TOLD = "openstack/latest/vendor_data2.json"
_SEED = "var/lib/cloud/seed/config_drive"
_DRIVES = ("dev/disk/by-label/config-2", "dev/disk/by-label/CONFIG-2")
_FIRST, _LONGEST = 2.0, 300.0


def pauses(drawn: Callable[[float, float], float]) -> Iterator[float]:
    """Yield the seconds between attempts: up to twice as long each time, and five minutes at last.

    At least half of that: those who boot at once and are told to try again come at other moments.
    """
    longest = _FIRST
    while True:
        yield drawn(longest / 2, longest)
        longest = min(2 * longest, _LONGEST)


@dataclass
class Enrolment:
    """Enrols this instance when it is not enrolled, after pauses that grow."""

    layout: Layout
    store: Store
    clock: Callable[[], datetime]
    ca_file: str | None
    insecure_http: bool
    _pauses: Iterator[float] = field(default_factory=lambda: pauses(SystemRandom().uniform))
    _next: float = 0.0
    _failure: str = ""

    def __call__(self) -> list[str]:
        """Return what an operator should know, if this enrolled it; raises `AgentError`.

        Between two attempts it raises what the last one did.
        """
        if self._is_enrolled():
            return []
        now = time.monotonic()
        if now >= self._next:
            try:
                return self._enrol()
            except AgentError as error:
                self._failure = str(error)
                self._next = now + next(self._pauses)
        raise AgentError(self._failure)

    def _is_enrolled(self) -> bool:
        """Say so of an enrolment of this machine: one in an image is another's."""
        try:
            state = self.store.load()
            if state is not None:
                check_machine(state.machine, self.layout.root)
        except AgentError:
            return False
        return state is not None

    def _enrol(self) -> list[str]:
        failures = []
        for text in self._told():
            try:
                invitation = vendordata.invitation(text())
                server = Server(invitation.url, self.ca_file, self.insecure_http)
                with self.store.locked():
                    return enrol(self.layout, self.store, invitation, server, self.clock())
            except AgentError as error:  # noqa: PERF203 (the next one may know better)
                failures.append(str(error))
        raise AgentError("; ".join(dict.fromkeys(failures)))

    def _told(self) -> Iterator[Callable[[], str]]:
        """Yield the ways to what this instance is told, those of this machine first."""
        seed = self.layout.root / _SEED / _TOLD
        if seed.exists():
            yield partial(_read, seed)
        for name in _DRIVES:
            drive = self.layout.root / name
            if drive.exists():
                yield partial(_mounted, drive)
        yield _asked


def _read(path: Path) -> str:
    data = files.read(path, vendordata.MAX_SIZE)
    if data is None:
        raise AgentError(f"there is no {path}")
    return data.decode("utf-8", "replace")


def _mounted(drive: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="tatu-agent-") as folder:
        run(["mount", "-o", "ro,nosuid,nodev,noexec", str(drive.resolve()), folder])
        try:
            return _read(Path(folder) / _TOLD)
        finally:
            run(["umount", folder])


def _asked() -> str:
    data = Server(f"http://{METADATA}").get(f"/{_TOLD}", limit=vendordata.MAX_SIZE)
    return (data or b"").decode("utf-8", "replace")
