"""Whether a service beside Tatu answers: one that does not must be no wait for all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tatu.core.errors import Unavailable


class Line:
    """While a service does not answer, one caller tries, and all others are told at once.

    Else a service that hangs would take every thread of the API with it, and with them what
    hosts obey. `told` is the beginning of what they are told.
    """

    def __init__(self, told: str) -> None:
        self._told = told
        self._broken = False
        self._trying = threading.Lock()

    @property
    def broken(self) -> bool:
        """Whether the last that was heard of the service is that it did not answer."""
        return self._broken

    @contextmanager
    def turn(self, breaks: Callable[[BaseException], bool]) -> Iterator[bool]:
        """Ask the service in here; tells whether this caller is the one that tries.

        `breaks` says of an error whether the service is taken for broken after it. Raises
        `Unavailable` while another caller tries.
        """
        tries = self._broken
        if tries and not self._trying.acquire(blocking=False):
            raise self.unavailable("another request is waiting for it")
        try:
            yield tries
        except BaseException as error:
            self._broken = breaks(error)
            raise
        else:
            self._broken = False
        finally:
            if tries:
                self._trying.release()

    def unavailable(self, why: str) -> Unavailable:
        """Return the error that says that the service does not answer."""
        return Unavailable(f"{self._told}: {why}")
