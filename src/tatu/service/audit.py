"""What the services write into the audit chain, and its signed checkpoints (security.md S23)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tatu.core import canonical
from tatu.core.audit import SYSTEM, Actor, Checkpoint, Event
from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import Conflict, NotFound, TooMany
from tatu.core.host import Host
from tatu.core.identity import Identity
from tatu.ports import Clock, KeyStore, Ledger

SOME = 10
_MINUTE = timedelta(minutes=1)
_AUDIT_KEY = "reference:audit-key"


def event(
    action: str,
    *,
    by: Identity | Actor,
    at: datetime,
    subject: str,
    authority: str | None = None,
    request_id: str = "",
    **facts: object,
) -> Event:
    """Return the event of an action, by an identity or by Tatu itself."""
    actor = by if isinstance(by, Actor) else _actor(by)
    return Event(
        action=action,
        actor=actor,
        authority=authority,
        subject=subject,
        at=at,
        request_id=request_id,
        facts=facts,
    )


def host_event(
    action: str,
    authority_id: str,
    host_id: str,
    *,
    at: datetime,
    request_id: str,
    **facts: object,
) -> Event:
    """Return the event of what a host did, or claims, itself."""
    return event(
        action,
        by=Actor(kind="host", id=host_id, name=host_id),
        at=at,
        subject=host_id,
        authority=authority_id,
        request_id=request_id,
        **facts,
    )


def append_host_denial(
    ledger: Ledger, action: str, host: Host, *, at: datetime, request_id: str
) -> None:
    """Write down that a host was named in vain, some times; others can be made up at will."""
    denied = event(
        action,
        by=SYSTEM,
        at=at,
        subject=host.id,
        authority=host.authority,
        request_id=request_id,
    )
    append_some(ledger, denied, host.authority, host.id)


def append_some(ledger: Ledger, happened: Event, *who: str) -> bool:
    """Append what strangers can make happen: ten a minute of each `who`; tell whether it was.

    The chain is kept for ever. Raises `Unavailable`.
    """
    may = is_one_of_some(ledger, happened, *who)
    if may:
        ledger.audit.append(happened)
    return may


def is_one_of_some(ledger: Ledger, happened: Event, *who: str) -> bool:
    """Count an event as `append_some` does; tell whether it may be appended."""
    try:
        key = canonical.text([happened.action, *who])
        ledger.limits.take(key, limit=SOME, window=_MINUTE, now=happened.at)
    except TooMany:
        return False
    return True


def _actor(identity: Identity) -> Actor:
    return Actor(kind="user", issuer=identity.issuer, id=identity.subject, name=identity.name)


@dataclass(frozen=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint, the armored SSHSIG (`checkpoint@tatu`) over it, and who signed."""

    checkpoint: Checkpoint
    signature: str
    public_key: str


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Signs how the audit chain stands, with a key of the deployment's own."""

    ledger: Ledger
    keystore: KeyStore
    clock: Clock

    def sign(self) -> SignedCheckpoint:
        """Sign the head of the chain. Raises `Unavailable`."""
        signer = self.keystore.signer(self._reference())
        sequence, head = self.ledger.audit.head()
        checkpoint = Checkpoint(
            deployment=self.ledger.deployment(), sequence=sequence, hash=head, at=self.clock()
        )
        return SignedCheckpoint(
            checkpoint=checkpoint,
            signature=signer.sign_checkpoint(checkpoint),
            public_key=signer.public_key.line,
        )

    def renew(self) -> None:
        """Let go of an audit key that is lost: the next checkpoint makes another."""
        self.ledger.secrets.delete(_AUDIT_KEY)

    def _reference(self) -> str:
        """Return the key store's name of the audit key, made at the first call."""
        secrets = self.ledger.secrets
        try:
            return secrets.get(_AUDIT_KEY).decode()
        except NotFound:
            reference, _ = self.keystore.create(KeyAlgorithm.ED25519)
        try:
            secrets.put(_AUDIT_KEY, reference.encode())
        except Conflict:  # another process was faster
            self.keystore.delete(reference)
        return secrets.get(_AUDIT_KEY).decode()
