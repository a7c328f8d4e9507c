"""How far hosts are with what is revoked; asked every few seconds, however often anyone reads."""

import threading
import time
from collections.abc import Callable

from tatu import ports
from tatu.api.metrics import Metrics
from tatu.ports import Clock

_UNASKED = 5.0
"""Seconds: it is a look at every host, and metrics are for anyone."""


class Lag:
    """Tells the metrics, when it is due."""

    def __init__(
        self,
        ask: Callable[[], ports.Lag],
        clock: Clock,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._until = float("-inf")

    def tell(self, metrics: Metrics) -> None:
        """Set the gauges as of a few seconds ago at most. Raises `Unavailable`."""
        with self._lock:
            if self._ticks() >= self._until:
                metrics.set_lag(self._ask(), self._clock())
                self._until = self._ticks() + _UNASKED
