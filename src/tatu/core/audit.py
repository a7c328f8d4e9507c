"""The audit chain: every fact that changed who may do what, each bound to all before it (S23)."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tatu.core import canonical
from tatu.core.errors import Malformed

GENESIS = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who did it: an identity, a host, or Tatu itself (`system`)."""

    kind: str
    issuer: str = ""
    id: str = ""
    name: str = ""


SYSTEM = Actor(kind="system")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fact: what was done, by whom, to what. `facts` holds JSON values and no secret."""

    action: str
    actor: Actor
    authority: str | None
    subject: str
    at: datetime
    request_id: str = ""
    facts: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Link:
    """An event in its place: `hash` covers the previous hash, the sequence and the body."""

    sequence: int
    previous: str
    body: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A signed claim of how the chain stood: whoever keeps it can tell a rewritten past."""

    deployment: str
    sequence: int
    hash: str
    at: datetime

    @property
    def encoded(self) -> bytes:
        """The bytes to be signed (namespace `checkpoint@tatu`): canonical JSON."""
        facts = {
            "at": self.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "deployment": self.deployment,
            "hash": self.hash,
            "sequence": self.sequence,
        }
        return canonical.data(facts)


def body(event: Event) -> str:
    """Write an event as canonical JSON; raises ValueError for what JSON has no number for."""
    actor = event.actor
    return canonical.text(
        {
            "action": event.action,
            "actor": {
                "kind": actor.kind,
                "issuer": actor.issuer,
                "id": actor.id,
                "name": actor.name,
            },
            "authority": event.authority,
            "subject": event.subject,
            "at": event.at.isoformat(timespec="milliseconds"),
            "request_id": event.request_id,
            "facts": dict(event.facts),
        }
    )


def link(previous: str, sequence: int, event_body: str) -> Link:
    """Append a body to the chain that ends in `previous`."""
    digest = hashlib.sha256(f"{previous}\n{sequence}\n{event_body}".encode()).hexdigest()
    return Link(sequence=sequence, previous=previous, body=event_body, hash=digest)


def check(links: Iterable[Link], *, previous: str = GENESIS, sequence: int = 0) -> tuple[int, str]:
    """Walk a chain from a known link; return the last sequence and hash.

    Raises `Malformed` with the first sequence at which the chain is broken.
    """
    for found in links:
        sequence += 1
        if found != link(previous, sequence, found.body):
            raise Malformed(f"the audit chain is broken at event {sequence}")
        previous = found.hash
    return sequence, previous
