"""Who logged in where, as hosts claim it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.claims import Login, LoginKind
from tatu.ports.common import Page


@dataclass(frozen=True, kw_only=True)
class LedgerLogin:
    """A login as a host told it, and what the ledger made of that.

    `subject` and `user_name` are set only where the certificate is one of ours as it was named;
    `alarm` says what is wrong with one that is not. `sequence` is its place, 0 before it has one.
    """

    authority: str
    host: str
    received_at: datetime
    login: Login
    subject: str = ""
    user_name: str = ""
    alarm: str = ""
    sequence: int = 0


@dataclass(frozen=True, kw_only=True)
class LoginFilter:
    """Which logins: every part that is not None must match; `authorities` as certificates'.

    `after` is a time of the hosts' clocks.
    """

    authorities: Sequence[str] | None
    subject: str | None = None
    host: str | None = None
    account: str | None = None
    serial: int | None = None
    kind: LoginKind | None = None
    after: datetime | None = None
    alarming: bool | None = None


class Logins(Protocol):
    """What hosts told of logins; of each host the newest `kept`."""

    @abstractmethod
    def append(
        self, told: Sequence[LedgerLogin], alarms: Mapping[str, Event]
    ) -> tuple[LedgerLogin, ...]:
        """Keep what one host told; return what it had not told before.

        `alarms`, by the login's id, are the events of those that are to be written down: in the
        same commit as the login. Raises `NotFound` when the host is deleted meanwhile.
        """

    @abstractmethod
    def list(self, wanted: LoginFilter, *, limit: int, marker: str | None) -> Page[LedgerLogin]:
        """Return logins, those that came last first."""
