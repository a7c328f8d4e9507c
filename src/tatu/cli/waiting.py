"""Waiting for hosts to show that they refuse what was revoked."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from tatu.core.errors import TooMany, Unavailable

if TYPE_CHECKING:
    from tatu.client.api import Api
    from tatu.client.resources import HostReceipt, Receipts

_PAUSE = 0.25
_NAMED = 1000
"""Hosts that are named at most: what a list gives at once."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Asks until all hosts of an authority have given their receipts, and tells how many have.

    `begun` is when the revocation was asked for, as `ticks` tells it.
    """

    api: "Api"
    authority: str
    begun: float
    told: TextIO
    ticks: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def until(self, krl_version: int | None, timeout: timedelta) -> bool:
        """Return whether all have the KRL of that version, or a later one, within the time.

        None is the next one that is built. Else those that have not are named.
        """
        end = self.begun + timeout.total_seconds()
        found: Receipts | None = None
        shown = ""
        while True:
            asked = self.ticks()
            try:
                at_least = krl_version or self.api.statement(self.authority).krl.version
                found = self.api.receipts(self.authority, at_least)
            except (Unavailable, TooMany) as error:
                line = str(error)
            else:
                krl_version = at_least
                line = _progress(found)
                if found.done >= found.hosts:
                    self._tell(f"{line} in {self.ticks() - self.begun:.1f} s")
                    return True
            if self.ticks() >= end:
                break
            if line != shown:
                self._tell(line)
                shown = line
            self.pause(max(_PAUSE, self.ticks() - asked))
        self._tell(f"{line} in {self.ticks() - self.begun:.1f} s")
        if found is not None and krl_version is not None:
            self._name_missing(found, krl_version)
        return False

    def _name_missing(self, found: "Receipts", at_least: int) -> None:
        try:
            late = self.api.receipts(self.authority, at_least, limit=_NAMED)
        except (Unavailable, TooMany):
            late = found
        names = [_named(each) for each in late.items if not each.done]
        rest = late.hosts - late.done - len(names)
        self._tell(f"missing: {', '.join(names)}{f' and {rest} more' if rest else ''}")

    def _tell(self, line: str) -> None:
        self.told.write(f"{line}\n")
        self.told.flush()


def _named(host: "HostReceipt") -> str:
    since = host.not_enrolled_since
    return (
        host.host
        if since is None
        else f"{host.host} (not enrolled since {since:%Y-%m-%dT%H:%M:%SZ})"
    )


def _progress(found: "Receipts") -> str:
    if not found.hosts:
        return "no host is enrolled here: refused on 0/0 hosts"
    return f"refused on {found.done}/{found.hosts} hosts"
