"""`tatu-agent run`: keeps this host in step for as long as the machine is up.

A round is: obey the newest statement, tell that it is in force, tell what happened, renew what
ends, tell how the host is doing. Each step goes by itself: one that fails says so once, and the
others follow.
"""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from secrets import SystemRandom
from typing import Any, NamedTuple

from tatu.agent import doctor, ending, logins, receipts, renew, sessions
from tatu.agent.errors import AgentError, Unfinished
from tatu.agent.freshness import refusing
from tatu.agent.http import Server
from tatu.agent.layout import Layout
from tatu.agent.state import State, Store, own
from tatu.agent.sync import enrolled, put_in_place, refresh, warnings
from tatu.agent.watch import Target, Watcher

_EVER = datetime.fromtimestamp(0, timezone.utc)
_EMPTY = 0
"""When what is empty, or not there, was changed."""

_VARYING = re.compile(r"\d+|\(request [^)]*\)")
"""What makes two failures for the same reason read otherwise."""

_MAX_REASONS = 8
"""Of a step that fails: a server that gives ever other ones does not fill the log."""


@dataclass(frozen=True)
class Pace:
    """How often what is done, in seconds.

    `spread` is how long a fleet takes to fetch what all of it is told of at once; `polling` is for
    want of a door, and `watching` while one is there, which might keep silent. Each `sessions`, at
    rest as well, it ends what may not go on: what expires, and strays. What nobody changed is
    proven anew each `thorough`; `tick` is how soon a login is noticed. Hosts that are revoked
    together renew over `renewal`; what fails is tried again after that, and ever later.
    """

    tick: float = 5.0
    spread: float = 1.0
    polling: float = 10.0
    watching: float = 60.0
    sessions: float = 30.0
    journal: float = 120.0
    renewal: float = 10.0
    thorough: float = 3600.0
    jitter: float = 0.1


class _Changes(NamedTuple):
    """What differs when somebody came or went, and when something is to be told."""

    sessions: int = _EMPTY
    spool: int = _EMPTY


@dataclass
class Daemon:
    """The loop; `enrolment` enrols a host that is not, if it can."""

    layout: Layout
    store: Store
    clock: Callable[[], datetime]
    pace: Pace = Pace()
    enrolment: Callable[[], Sequence[str]] = tuple
    _wake: threading.Event = field(default_factory=threading.Event)
    _stopping: bool = False
    _failing: dict[str, set[str]] = field(default_factory=dict)
    _said: dict[str, frozenset[str]] = field(default_factory=dict)
    _thorough_at: float = 0.0
    _enforced_at: float = math.inf  # until there is a statement to end sessions by
    _seen: _Changes = field(default_factory=_Changes)
    _in_place: object = None
    _is_finished: bool = False
    _found: Sequence[Any] = ()
    _receipted: str = ""
    _listed: str = ""  # the list in which this host's own certificates were looked for
    _renewal_due: bool = False
    _renew_at: float = math.inf
    _renewal_pause: float = 0.0
    _journal_at: float = 0.0
    _reported: Any = None

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        watcher = Watcher(self._wake)
        watcher.start()
        _tell_systemd("READY=1")
        while not self._stopping:
            self._round()
            with suppress(AgentError):
                self._follow(watcher)
            self._rest(self.pace.watching if watcher.is_open else self.pace.polling)
        _tell_systemd("STOPPING=1")

    def _stop(self, *_: object) -> None:
        self._stopping = True
        self._wake.set()

    def _follow(self, watcher: Watcher) -> None:
        state = self._state()
        server = Server(state.url, state.ca_file, state.insecure_http)
        watcher.follow(Target(server, state.authority, state.newest.version))

    def _rest(self, seconds: float) -> None:
        """Return when it is time for a round: after so long, at news, or when somebody came."""
        until = min(time.monotonic() + self._jittered(seconds), self._renew_at)
        while not self._stopping and (left := until - time.monotonic()) > 0:
            if self._wake.wait(min(left, self.pace.tick)):
                self._wake.clear()
                if not self._stopping:
                    self._wake.wait(SystemRandom().uniform(0, self.pace.spread))
                return
            _tell_systemd("WATCHDOG=1")
            if self._changes() != self._seen:
                return
            if self._must_enforce():
                self._step("sessions", self._enforce)

    def _round(self) -> None:
        if not self._step("enrolment", self._enrol):
            return
        now = time.monotonic()
        before, self._seen = self._seen, self._changes()
        thorough = now >= self._thorough_at
        if thorough:
            self._thorough_at = now + self.pace.thorough
        self._step("sync", lambda: self._sync(thorough=thorough))
        is_done = self._enforced_at >= now  # as part of what was put in place
        if not is_done and (before != self._seen or self._must_enforce()):
            self._step("sessions", self._enforce)
        self._step("certificates", self._look_for_own)
        self._step("receipt", self._receipt)
        if now >= self._journal_at:
            self._journal_at = now + self.pace.journal
            self._step("journal", lambda: logins.collect(self.layout))
        self._step("logins", self._flush)
        if thorough or time.monotonic() >= self._renew_at:
            self._step("renewal", self._renew)
        if thorough:
            self._step("doctor", self._look)
        self._step("report", self._report)

    def _step(self, name: str, work: Callable[[], object]) -> bool:
        """Do it, say once why it fails and once that it works again; return whether it did."""
        if self._stopping:
            return False
        _tell_systemd("WATCHDOG=1")
        try:
            work()
        except (AgentError, OSError) as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 (a mistake in one step must not end all others)
            why = f"a mistake: {type(error).__name__}: {error}"
        else:
            if self._failing.pop(name, None):
                _say(f"{name}: works again")
            return True
        said = self._failing.setdefault(name, set())
        shape = _VARYING.sub("", why)
        if shape not in said and len(said) < _MAX_REASONS:
            said.add(shape)
            _say(f"{name}: {why}")
        return False

    def _enrol(self) -> None:
        with suppress(AgentError, OSError), self.store.locked():
            # a copy lets nobody in while it waits for an identity of its own
            enrolled(self.layout, self.store, self.clock())
        for line in self.enrolment():
            _say(line)
        self._state()  # without one there is nothing to do, of which one line tells

    def _state(self) -> State:
        return own(self.store, self.layout.root)  # a copy speaks for nobody

    def _sync(self, *, thorough: bool) -> None:
        with self.store.locked():
            state, failure = refresh(self.layout, self.store, self.clock)
            if thorough or not self._is_finished or self._meaning(state) != self._in_place:
                self._in_place, self._is_finished = None, False
                self._enforced_at = time.monotonic()
                try:
                    said = put_in_place(self.layout, self.store, state, self.clock)
                except Unfinished:
                    # One account, tried again each round, keeps no receipt of the rest back
                    self._in_place = self._meaning(state)
                    raise
                self._in_place, self._is_finished = self._meaning(state), True
                self._tell("sync", [*said, *warnings(self.layout, state, self.clock())])
        if failure:
            raise failure

    def _look_for_own(self) -> None:
        """Have certificates of this host's renewed soon that a new list has."""
        state = self._state()
        listed = state.newest.krl_digest
        if listed != self._listed and self._meaning(state) == self._in_place:
            if renew.revoked(self.layout, state):
                self._renew_in(SystemRandom().uniform(0, self.pace.renewal))
            self._listed = listed

    def _renew_in(self, seconds: float) -> None:
        self._renew_at = min(self._renew_at, time.monotonic() + seconds)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + SystemRandom().uniform(-1, 1) * self.pace.jitter)

    def _meaning(self, state: State) -> object:
        """Return what a host does by a state: the same for a statement that is only newer."""
        newest, now = state.newest, self.clock()
        timeless = replace(newest, version=0, issued=_EVER, expires=_EVER)
        return timeless, refusing(newest, now), state.certificates

    def _tell(self, step: str, said: Sequence[str]) -> None:
        for line in said:
            if line not in self._said.get(step, ()):
                _say(line)
        self._said[step] = frozenset(said)

    def _must_enforce(self) -> bool:
        return time.monotonic() >= self._enforced_at + self.pace.sessions

    def _enforce(self) -> None:
        """End what may not go on; strays as well, which are there where nothing is recorded."""
        self._enforced_at = time.monotonic()
        with self.store.locked():
            state = enrolled(self.layout, self.store, self.clock())
            said = ending.enforce(self.layout, state, self.clock())
        self._tell("sessions", said)

    def _receipt(self) -> None:
        state = self._state()
        if self._receipted != state.signature and self._meaning(state) == self._in_place:
            self._renewal_due = receipts.send_receipt(self.layout, state, self.clock())
            self._receipted = state.signature
            if self._renewal_due:
                self._renew_in(0)

    def _flush(self) -> None:
        if not receipts.flush(self.layout, self._state(), self.clock()):
            # that the spool is empty now is this round's own doing, and no news
            self._seen = self._seen._replace(spool=_EMPTY)

    def _renew(self) -> None:
        """Renew if need be; a host that may not, or cannot, asks again ever more seldom."""
        self._renewal_pause = min(2 * self._renewal_pause or self.pace.renewal, self.pace.thorough)
        self._renew_at = time.monotonic() + self._jittered(self._renewal_pause)
        with self.store.locked():
            state = self._state()
            why = renew.due(self.layout, state, self.clock(), told=self._renewal_due)
            if why:
                renew.renew(self.layout, self.store, state, self.clock())
                self._renewal_due = False
                _say(f"host certificates renewed: {why}")
        self._renew_at, self._renewal_pause = math.inf, 0.0

    def _look(self) -> None:
        found = doctor.findings(self.layout, self.store, self._state(), self.clock())
        self._found = [finding.told() for finding in found]

    def _report(self) -> None:
        report = receipts.report(self.layout, self._found)
        if report != self._reported:
            receipts.send_report(self.layout, self._state(), report, self.clock())
            self._reported = report

    def _changes(self) -> _Changes:
        folder, spool = sessions.folder(self.layout), self.layout.spool / "events"
        return _Changes(_modified(folder), _modified(spool))


def _modified(path: Path) -> int:
    """Return when a file or folder was changed."""
    try:
        status = path.stat()
    except OSError:
        return _EMPTY
    return status.st_mtime_ns if status.st_size else _EMPTY


def _say(line: str) -> None:
    # one line is one line, and all that stands in it came through the agent's own checks
    print(f"tatu-agent: {line}", file=sys.stderr, flush=True)


def _tell_systemd(what: str) -> None:
    """Tell systemd how it goes, if it started us and wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect("\0" + address[1:] if address.startswith("@") else address)
        told.send(what.encode())
