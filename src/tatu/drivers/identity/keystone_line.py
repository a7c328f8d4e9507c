"""Whether Keystone answers at all: an outage is no answer, and must be no wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from keystoneauth1 import exceptions

from tatu.core.errors import Unavailable


class Line:
    """While Keystone does not answer, one caller tries, and all others are told at once.

    Else a Keystone that hangs would take every thread of the API with it, and with them what
    hosts obey.
    """

    def __init__(self) -> None:
        self._broken = False
        self._trying = threading.Lock()

    @property
    def broken(self) -> bool:
        """Whether the last that was heard of Keystone is that it did not answer."""
        return self._broken

    @contextmanager
    def asking(self) -> Iterator[bool]:
        """Ask Keystone in here; tells whether this caller is the one that tries.

        Raises `Unavailable`, for each error of keystoneauth as well.
        """
        tries = self._broken
        if tries and not self._trying.acquire(blocking=False):
            raise _unavailable("another request is waiting for it")
        try:
            yield tries
        except exceptions.ClientException as error:
            self._broken = isinstance(error, exceptions.ConnectionError)
            raise _unavailable(type(error).__name__) from error
        else:
            self._broken = False
        finally:
            if tries:
                self._trying.release()


def _unavailable(why: str) -> Unavailable:
    # Not the error's text: that may have the address, with whatever an operator wrote into it.
    return Unavailable(f"Keystone does not answer Tatu's own user: {why}")
