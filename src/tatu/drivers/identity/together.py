"""One question for all who ask it at the same moment: two hundred guests bring one token."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from tatu.core.identity import Identity


@dataclass(frozen=True, kw_only=True)
class Together:
    """Questions that are being asked, by a digest of what they are about."""

    _asked: dict[str, Future[Identity]] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def ask(self, digest: str, question: Callable[[], Identity]) -> Identity:
        """Return what the question answers, or raise as it does; whoever comes meanwhile waits."""
        with self._lock:
            answer = self._asked.get(digest)
            mine = answer is None
            if answer is None:
                answer = self._asked[digest] = Future()
        if not mine:
            return answer.result()
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 - all who wait are told, whatever it is
            answer.set_exception(error)
        finally:
            with self._lock:
                del self._asked[digest]
        return answer.result()
