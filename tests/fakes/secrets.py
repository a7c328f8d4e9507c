"""Wrapped secrets in memory."""

import threading

from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.ports import Secrets


class FakeSecrets(Secrets):
    """Keeps bytes by name; with `out` it does not answer."""

    def __init__(self) -> None:
        self.out = False
        self.kept: dict[str, bytes] = {}

    def put(self, name: str, wrapped: bytes) -> None:
        self._check()
        if name in self.kept:
            raise Conflict(name)
        self.kept[name] = wrapped

    def get(self, name: str) -> bytes:
        self._check()
        if name not in self.kept:
            raise NotFound(name)
        return self.kept[name]

    def replace(self, name: str, wrapped: bytes, *, old: bytes) -> None:
        self._check()
        if self.kept.get(name) != old:
            raise Conflict(name)
        self.kept[name] = wrapped

    def delete(self, name: str) -> None:
        self._check()
        self.kept.pop(name, None)

    def names(self) -> tuple[str, ...]:
        self._check()
        return tuple(self.kept)

    def _check(self) -> None:
        if self.out:
            raise Unavailable("the ledger does not answer")


class SlowSecrets(FakeSecrets):
    """Puts no secret before somebody else puts one, too."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = threading.Barrier(2)

    def put(self, name: str, wrapped: bytes) -> None:
        self._barrier.wait(timeout=10)
        super().put(name, wrapped)
