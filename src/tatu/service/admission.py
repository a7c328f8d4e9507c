"""Admission: an operator names a machine, and gets the token with which it enrols (S8, S11)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tatu.core import enrolment, host, losses
from tatu.core.authority import Authority
from tatu.core.enrolment import EnrolmentToken
from tatu.core.errors import Denied, Malformed, NotFound
from tatu.core.host import Host
from tatu.core.identity import Identity
from tatu.ports import Clock, KeyStore, Ledger
from tatu.service.audit import event
from tatu.service.statements import statement_keys

BLOCKED = "this host is blocked; an administrator can clear the block"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where hosts enrol, and for how long a token may be redeemed."""

    url: str
    token_lifetime: timedelta = timedelta(hours=1)
    max_token_lifetime: timedelta = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """An admitted host and its token, good until `host.admitted_until`."""

    token: EnrolmentToken
    host: Host


@dataclass(frozen=True, kw_only=True)
class Admissions:
    """Admits hosts."""

    ledger: Ledger
    keystore: KeyStore
    clock: Clock
    settings: Settings

    def admit(
        self,
        identity: Identity,
        authority_id: str,
        host_id: str,
        *,
        names: tuple[str, ...] | None = None,
        addresses: tuple[str, ...] | None = None,
        validity: timedelta | None = None,
        legacy: bool = False,
        request_id: str,
    ) -> Admission:
        """Admit a host, or admit it again, and return its one-time token.

        A host that is admitted again keeps the names and addresses that are not given (None).
        Without names it is called by its id. While the token of an epoch is unused and not
        expired, the same question gets the same token; any other opens the next epoch. A `legacy`
        host may enrol over the original's wire, by `legacy_token`. Raises `NotFound` for no
        authority, `Gone` for a retired one, `Malformed`, `Denied` for a name outside of the DNS
        suffix, `Conflict` when another live host holds a name or address.
        """
        snapshot = self.ledger.authorities.snapshot(authority_id)
        authority = snapshot.authority
        authority.check_not_retired()
        if host_id in snapshot.blocked_hosts:
            raise Denied(BLOCKED)
        now = self.clock()
        known = self._known(authority_id, host_id)
        if known is not None:
            if names is None:  # short ones: the others follow from what the suffix is now
                names = tuple(name for name in known.names if "." not in name)
            addresses = known.addresses if addresses is None else addresses
        wanted = Host(
            id=host.host_id(host_id),
            authority=authority_id,
            names=host.names_within(names or (host_id,), authority.profile.dns_suffix, of=host_id),
            addresses=tuple(dict.fromkeys(map(host.address, addresses or ()))),
            epoch=1,
            admitted_until=now + self._validity(validity),
            created_at=now,
            instance=known is not None and known.instance,
            legacy=legacy,
        )
        found = self.ledger.hosts.admit(
            wanted,
            event(
                "host.admitted",
                by=identity,
                at=now,
                subject=wanted.id,
                authority=authority_id,
                request_id=request_id,
                principals=list(wanted.principals),
                until=wanted.admitted_until.isoformat(),
            ),
            mark=identity.mark,
            topics=losses.topics(identity),
            stands=lambda host: _stands(host, wanted, now),
        )
        token = token_of(self.keystore, self.settings.url, authority, found)
        return Admission(token=token, host=found)

    def legacy_token(self, found: Host) -> str:
        """Return the token of a host on the original's wire. Raises `Unavailable`."""
        return legacy_token_of(self.keystore, found)

    def _validity(self, wanted: timedelta | None) -> timedelta:
        if wanted is None:
            return self.settings.token_lifetime
        if not timedelta() < wanted <= self.settings.max_token_lifetime:
            longest = int(self.settings.max_token_lifetime.total_seconds())
            raise Malformed(f"an enrolment token is good for 1 to {longest} seconds")
        return wanted

    def _known(self, authority_id: str, host_id: str) -> Host | None:
        try:
            return self.ledger.hosts.get(authority_id, host_id, scope=None)
        except NotFound:
            return None


def _stands(known: Host, wanted: Host, now: datetime) -> bool:
    """Whether the known host's token is still to be redeemed and says what is wanted."""
    return (
        known.principals == wanted.principals
        and not known.host_keys
        and now < known.admitted_until
        and (known.legacy or not wanted.legacy)
    )


def token_of(keystore: KeyStore, url: str, authority: Authority, found: Host) -> EnrolmentToken:
    """Return the token of a host's epoch, the same each time. Raises `Unavailable`."""
    return EnrolmentToken(
        url=url,
        authority=authority.id,
        host=found.id,
        secret=secret_of(keystore, authority.id, found.id, found.epoch),
        trust=enrolment.trust_digest(statement_keys(authority)),
    )


def secret_of(keystore: KeyStore, authority: str, host_id: str, epoch: int) -> bytes:
    """Return the secret of an epoch's token, which is stored nowhere. Raises `Unavailable`."""
    return enrolment.secret(
        keystore.secret("enrolment"), authority=authority, host=host_id, epoch=epoch
    )


def legacy_token_of(keystore: KeyStore, found: Host) -> str:
    """Return the token with which a host enrols on the original's wire. Raises `Unavailable`."""
    return enrolment.legacy_token(
        keystore.secret("enrolment"),
        authority=found.authority,
        host=found.id,
        epoch=found.epoch,
    )
