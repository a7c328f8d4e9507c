"""Whether each part answers; asked at most once a second, however often anyone wants to know."""

import threading
import time
from collections.abc import Callable, Mapping

from tatu.core.errors import TatuError

_UNASKED = 1.0


class Ready:
    """Runs the checks of the parts."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._ticks = ticks
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._until = float("-inf")

    def checks(self) -> dict[str, str]:
        """Return `ok`, or what is wrong, by part."""
        with self._lock:
            if self._ticks() >= self._until:
                self._found = {name: _outcome(check) for name, check in self._checks.items()}
                self._until = self._ticks() + _UNASKED
            return self._found


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except TatuError as error:
        return str(error)
    return "ok"
