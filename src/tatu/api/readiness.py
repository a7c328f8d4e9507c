"""Whether each part answers; asked at most once a second, however often anyone wants to know."""

import threading
import time
from collections.abc import Callable, Mapping

from tatu.core.errors import TatuError

_UNASKED = 1.0
_PATIENCE = 2.0
"""Seconds that a part has to answer: one that hangs must not keep back what is said of others."""

_SILENT = f"no answer in {_PATIENCE:.0f} seconds"


class Ready:
    """Runs the checks of the parts, side by side."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        ticks: Callable[[], float] = time.monotonic,
        patience: float = _PATIENCE,
    ) -> None:
        self._parts = {name: _Part(name, check) for name, check in checks.items()}
        self._ticks = ticks
        self._patience = patience
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._until = float("-inf")

    def checks(self) -> dict[str, str]:
        """Return `ok`, or what is wrong, by part."""
        with self._lock:
            if self._ticks() >= self._until:
                for part in self._parts.values():
                    part.ask()
                by = time.monotonic() + self._patience
                self._found = {name: part.outcome(by) for name, part in self._parts.items()}
                self._until = self._ticks() + _UNASKED
            return self._found


class _Part:
    """One part, which a thread asks: while it does not answer no other thread does."""

    def __init__(self, name: str, check: Callable[[], None]) -> None:
        self._name = name
        self._check = check
        self._thread: threading.Thread | None = None
        self._outcome = _SILENT

    def ask(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._outcome = _SILENT
            # a daemon: a part that hangs must not keep the process from its end
            self._thread = threading.Thread(
                target=self._ask, name=f"tatu-ready-{self._name}", daemon=True
            )
            self._thread.start()

    def outcome(self, by: float) -> str:
        if self._thread is not None:
            self._thread.join(max(0.0, by - time.monotonic()))
        return self._outcome

    def _ask(self) -> None:
        self._outcome = _outcome(self._check)


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except TatuError as error:
        return str(error)
    return "ok"
