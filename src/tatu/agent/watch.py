"""News: hear from the watch door that there is a newer statement, within a second.

What the door says only decides when the API is asked, and nothing of it is obeyed: one that lies
or keeps silent costs requests, or lets the host poll.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from secrets import SystemRandom
from urllib.parse import quote, urlsplit

from tatu.agent import http
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.http import Server

_HOLD = 660.0
"""Seconds for which a door may keep its answer back."""

_SOONEST = 1.0
"""Seconds: a door that says sooner that there is no news does not hold those who ask."""

_LONGEST_REST = 60.0
_UNNAMED = 300.0
"""Seconds after which the API is asked again whether there is a door."""

_MAX_ANSWER = 2**16


@dataclass(frozen=True)
class Target:
    """What is waited for: a version after this one."""

    server: Server
    authority: str
    version: int


def door(server: Server) -> Server | None:
    """Return where the API says that its door is, or None.

    Raises `AgentError`; also for a door on another host: nobody sends agents elsewhere.
    """
    if server.carried:  # each that waits would hold a thread of what carries it
        return None
    named = http.parsed(server.get("/v2", limit=_MAX_ANSWER) or b"{}").get("watch")
    if not isinstance(named, str) or not named:
        return None
    url = server.url.rstrip("/") + named if named.startswith("/") else named
    found = Server(url, server.ca_file, server.insecure_http)
    if urlsplit(url).hostname != urlsplit(server.url).hostname:
        raise Malformed("the API names a watch door on another host")
    return found


def news(found: Server, target: Target) -> int | None:
    """Wait at the door, and return the newer version, or None when there was none for long.

    Raises `AgentError`.
    """
    path = f"/v2/authorities/{quote(target.authority, safe='')}?after={target.version}"
    begun = time.monotonic()
    body = found.get(path, limit=_MAX_ANSWER, patience=_HOLD)
    if body:
        version = http.parsed(body).get("version")
        if type(version) is not int or version <= target.version:
            raise Malformed("the watch door tells of no newer version")
        return version
    if time.monotonic() - begun < _SOONEST:
        raise AgentError("the watch door does not hold")
    return None


class Watcher:
    """Waits at the door in a thread of its own, and sets an event when there is news.

    `is_open` says whether news would be heard of.
    """

    def __init__(self, wake: threading.Event) -> None:
        self.is_open = False
        self._wake = wake
        self._target: Target | None = None
        self._changed = threading.Condition()
        self._rest = 0.0

    def start(self) -> None:
        """Begin, when there is something to wait for."""
        threading.Thread(target=self._watch, name="tatu-watch", daemon=True).start()

    def follow(self, target: Target) -> None:
        """Wait for what is after this from now on."""
        with self._changed:
            self._target = target
            self._changed.notify()

    def _watch(self) -> None:
        found: Server | None = None
        asked: Server | None = None
        while True:
            target = self._next()
            try:
                if found is None or asked != target.server:
                    found, asked = door(target.server), target.server
                if found is None:
                    self.is_open, self._rest = False, _UNNAMED
                    continue
                version = news(found, target)
            except AgentError:
                found = None
                self.is_open = False
                self._tire()
                continue
            self.is_open = True
            if version is None:
                self._rest = 0.0
            else:
                self._wake.set()
                self._await(version)

    def _next(self) -> Target:
        """Return what to wait for, after the rest."""
        with self._changed:
            if self._rest:
                self._changed.wait_for(
                    lambda: False, self._rest * SystemRandom().uniform(0.8, 1.2)
                )
            while self._target is None:
                self._changed.wait()
            return self._target

    def _await(self, version: int) -> None:
        """Let the host fetch that version; for one that never comes, rest longer and longer."""
        with self._changed:
            fetched = self._changed.wait_for(
                lambda: self._target is not None and self._target.version >= version,
                max(_SOONEST, self._rest),
            )
        if fetched:
            self._rest = 0.0
        else:
            self._tire()

    def _tire(self) -> None:
        self._rest = min(max(_SOONEST, 2 * self._rest), _LONGEST_REST)
