"""Who asks."""

from dataclasses import dataclass
from datetime import datetime

EMBEDDED_ISSUER = "local"
"""The issuer of the embedded directory's users."""

APPLICATION_CREDENTIAL = "application-credential:"
TRUST = "trust:"
LENT = APPLICATION_CREDENTIAL, TRUST
"""How the origin of what was lent begins: whoever lent it may take it back."""

MAX_ID = 191
"""Characters of the id of a user or project: three of them have to fit an index of MariaDB."""

FEDERATION = "federation:"
"""How the origin of a federated identity begins: its roles may be known from its token alone."""


@dataclass(frozen=True, kw_only=True, order=True)
class Role:
    """A role of the cloud: joined by its id, shown by its name."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A caller whom an identity driver vouches for.

    `mark` is the ledger's cut-off mark as it stood BEFORE the driver began to find out: whatever
    ended later than that is not known to this identity (security.md S4).

    `origin` is what a caller brought besides a sign-in of their own, and what dies with it:
    `application-credential:<id>`, `trust:<id>`, `federation:<id of the identity provider>`; empty
    for an ordinary sign-in. No certificate got by it is valid after `ends_by` (S9). `trustee` is
    who acts by a trust in the name of its trustor, the subject: it ends with either.
    """

    issuer: str
    subject: str
    name: str
    project: str | None
    roles: frozenset[Role]
    mark: int
    validated_at: datetime
    expires_at: datetime
    fresh: bool = False
    origin: str = ""
    trustee: str = ""
    ends_by: datetime | None = None

    @property
    def role_names(self) -> frozenset[str]:
        """The names of the roles, for policy rules."""
        return frozenset(role.name for role in self.roles)
