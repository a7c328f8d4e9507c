"""Whether the key manager answers in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tatu.drivers.line import Line

_SLOW = 1.0
"""Seconds after which a failure counts as hanging: what fails at once keeps nobody."""


class TimedLine(Line):
    """The line to the key manager, which is broken when a failure took long.

    Backends differ in what they raise; all of them take their time when nobody answers.
    """

    def __init__(self, who: str, ticks: Callable[[], float] = time.monotonic) -> None:
        super().__init__(f"{who} does not answer")
        self._ticks = ticks

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask in here; raises `Unavailable` while another caller waits for one that hangs."""
        began = self._ticks()
        with self.turn(lambda _: self._ticks() - began >= _SLOW):
            yield
