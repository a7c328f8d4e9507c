"""Losses: permissions that ended, and the cut-offs that keep their certificates from being born.

A loss commits a cut-off under its topic before anything else happens; what is recorded afterwards
is compared with all cut-offs that came after the marks it was decided by (security.md S4).  The
same holds for blocked subject keys, deleted hosts and retired signature keys: each is a topic.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from tatu.core import canonical
from tatu.core.identity import Identity

Topic = str
"""What a cut-off is about: a JSON array, so that no id can be read as two."""


def _topic(*parts: str) -> Topic:
    return canonical.text(parts)


def user(subject: str) -> Topic:
    """All that a user holds, everywhere."""
    return _topic("user", subject)


def user_in_project(subject: str, project: str) -> Topic:
    """All that a user holds in one project: some role there was removed."""
    return _topic("user-in-project", subject, project)


def project(project_id: str) -> Topic:
    """All that anyone holds in a project."""
    return _topic("project", project_id)


def role(role_id: str) -> Topic:
    """All that anyone holds by a role: it was deleted or renamed."""
    return _topic("role", role_id)


def origin(of: str) -> Topic:
    """All that was got by one application credential or trust (see `Identity.origin`)."""
    return _topic("origin", of)


def everyone() -> Topic:
    """All that anyone holds: a group or domain ended, and nobody can tell whose it was."""
    return _topic("everyone")


def subject_key(authority: str, fingerprint: str) -> Topic:
    """All certificates of an authority for one subject key."""
    return _topic("subject-key", authority, fingerprint)


def host(authority: str, host_id: str) -> Topic:
    """All that a host holds."""
    return _topic("host", authority, host_id)


def signature_key(fingerprint: str) -> Topic:
    """All that a signature key would still sign."""
    return _topic("signature-key", fingerprint)


def topics(identity: Identity) -> frozenset[Topic]:
    """Return every topic whose cut-off ends this identity."""
    found = {everyone(), user(identity.subject)} | {role(held.id) for held in identity.roles}
    if identity.origin:
        found.add(origin(identity.origin))
    if identity.trustee:
        found.add(user(identity.trustee))
    if identity.project is not None:
        found |= {
            project(identity.project),
            user_in_project(identity.subject, identity.project),
        }
    return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A cut-off whose certificates may not all be revoked yet; `at` is when it was committed."""

    mark: int
    topic: Topic
    reason: str
    at: datetime

    @property
    def parts(self) -> tuple[str, ...]:
        """The kind of the topic, then its ids."""
        return tuple(json.loads(self.topic))

    @property
    def of_identities(self) -> bool:
        """Whether what it ended is known from the source of identities, not from the ledger."""
        return self.parts[0] not in {"host", "subject-key", "signature-key"}
