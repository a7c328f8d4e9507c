"""Signing in by SSH key: what is challenged, and what the key signs (security.md S7)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tatu.core import canonical

LIFETIME = timedelta(seconds=60)
TOKEN_LIFETIME = timedelta(hours=1)
FRESH_LIFETIME = timedelta(seconds=60)


class SignInPurpose(StrEnum):
    """What a challenge is for.

    ADMINISTER gives a token that lives for a minute and may add keys, users and roles.
    """

    LOGIN = "login"
    ADMINISTER = "administer"


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What a user's key must sign in namespace `login@tatu`; redeemed once, within a minute.

    `user` and `project` are as the caller wrote them (a name or an id), so that the answer is
    the same for those that do not exist. `deployment` is the URL that the deployment is
    configured to have: a client signs only for the URL that it called, so that no server can have
    the challenge of another one signed.
    """

    id: str
    deployment: str
    user: str
    project: str
    public_key: str
    purpose: SignInPurpose
    nonce: str
    expires_at: datetime

    @property
    def message(self) -> bytes:
        """The bytes to be signed: the challenge as canonical JSON."""
        facts = {
            "deployment": self.deployment,
            "expires_at": self.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "id": self.id,
            "nonce": self.nonce,
            "project": self.project,
            "public_key": self.public_key,
            "purpose": str(self.purpose),
            "user": self.user,
        }
        return canonical.data(facts)
