"""Whether the key manager answers in time: one that hangs must be no wait for all."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tatu.core.errors import Unavailable

_SLOW = 1.0
"""Seconds after which a failure counts as hanging: what fails at once keeps nobody."""


class Line:
    """While the key manager hangs, one caller waits for it, and all others are told at once.

    Else each statement whose key is not in memory would take a thread of the API, until hosts of
    no authority are served.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._hangs = False
        self._trying = threading.Lock()

    @contextmanager
    def asking(self, who: str) -> Iterator[None]:
        """Ask in here; raises `Unavailable` while another caller waits for one that hangs."""
        tries = self._hangs
        if tries and not self._trying.acquire(blocking=False):
            raise Unavailable(f"{who} does not answer: another request is waiting for it")
        began = self._ticks()
        try:
            yield
        except BaseException:
            self._hangs = self._ticks() - began >= _SLOW
            raise
        else:
            self._hangs = False
        finally:
            if tries:
                self._trying.release()
