"""Challenges, and the tokens that they were exchanged for."""

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.challenge import Challenge


@dataclass(frozen=True, kw_only=True)
class BearerToken:
    """A sign-in token as it is kept: by the SHA-256 of its text (S7)."""

    digest: str
    user: str
    project: str | None
    key: str
    fresh: bool
    created_at: datetime
    expires_at: datetime


class SignIns(Protocol):
    """Challenges and bearer tokens."""

    @abstractmethod
    def put_challenge(self, challenge: Challenge) -> None:
        """Remember a challenge."""

    @abstractmethod
    def redeem_challenge(self, challenge_id: str, now: datetime) -> Challenge:
        """Return a challenge once.

        Raises `Unauthenticated` when it is unknown, used or expired.
        """

    @abstractmethod
    def put_token(self, token: BearerToken, event: Event) -> None:
        """Remember a token.

        Raises `Unauthenticated` when its user or key was taken away meanwhile.
        """

    @abstractmethod
    def token(self, digest: str, now: datetime) -> BearerToken:
        """Raise `Unauthenticated` when the token is unknown, ended or expired."""

    @abstractmethod
    def end_token(self, digest: str, event: Event) -> None:
        """End a token; no error when it is gone."""

    @abstractmethod
    def expire(self, now: datetime) -> int:
        """Remove challenges, tokens, kept answers and counts of requests that ended a day ago.

        Return how many challenges and tokens. No facts are among them: those only `Ledger.prune`
        removes.
        """
