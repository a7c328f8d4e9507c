"""Reading bodies without letting those that never arrive take every thread.

A thread that reads waits for the network, and no server that WSGI runs on ends that wait: whoever
sends half a body would keep it. So only some threads may read at a time, and few for one address;
the others answer statements, KRLs and health.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tatu.core.errors import Unavailable

PER_ADDRESS = 8
PATIENCE = 0.25
"""Seconds to wait for a place: a body that is there already is read in far less."""


class Bodies:
    """The places for those who read: half of the threads, and eight for an address.

    Three in eight threads may wait for a place; one in eight is never in here.
    """

    def __init__(self, threads: int) -> None:
        self._places = max(1, threads // 2)
        self._seats = threads * 3 // 8
        self._changed = threading.Condition(threading.Lock())
        self._reading: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold a place while reading; raises `Unavailable` when there is none."""
        with self._changed:
            if not (self._is_free(address) or self._wait(address)):
                raise Unavailable("too many request bodies are being read; try again")
            self._places -= 1
            self._reading[address] += 1
        try:
            yield
        finally:
            with self._changed:
                self._places += 1
                self._reading[address] -= 1
                if not self._reading[address]:
                    del self._reading[address]
                self._changed.notify_all()

    def _is_free(self, address: str) -> bool:
        return self._places > 0 and self._reading[address] < PER_ADDRESS

    def _wait(self, address: str) -> bool:
        if not self._seats:
            return False
        self._seats -= 1
        try:
            return self._changed.wait_for(lambda: self._is_free(address), PATIENCE)
        finally:
            self._seats += 1
