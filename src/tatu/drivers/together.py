"""One question for all who ask it at the same moment, and one answer, or one failure."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tatu.core.errors import Unavailable

T = TypeVar("T")

_MAX = 4096


class Together(Generic[T]):
    """Questions that are being asked, by what they are about.

    Two hundred guests bring one token, and a hundred threads need one key: were each to ask, or
    to wait in turn, a service that hangs would hold them all. What got no answer the last time
    is waited for by one alone.
    """

    def __init__(self) -> None:
        self._asked: dict[str, Future[T]] = {}
        self._unanswered: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, about: str, question: Callable[[], T]) -> T:
        """Return what the question answers, or raise as it does; whoever comes meanwhile waits.

        Raises `Unavailable` at once while another tries what had no answer.
        """
        with self._lock:
            answer = self._asked.get(about)
            mine = answer is None
            if answer is None:
                answer = self._asked[about] = Future()
            elif about in self._unanswered:
                raise Unavailable("no answer the last time, and another request is waiting for it")
        if not mine:
            return answer.result()
        try:
            answer.set_result(question())
        except BaseException as error:  # noqa: BLE001 - all who wait are told, whatever it is
            answer.set_exception(error)
        finally:
            self._done(about, answered=not isinstance(answer.exception(), Unavailable))
        return answer.result()

    def _done(self, about: str, *, answered: bool) -> None:
        with self._lock:
            del self._asked[about]
            if answered:
                self._unanswered.discard(about)
            elif len(self._unanswered) < _MAX:  # strangers make up as many as they like
                self._unanswered.add(about)
