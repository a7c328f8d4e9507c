"""What hosts obey: one KRL and one statement per authority, built when somebody asks (S2, S3)."""

import base64
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tatu.core import krl, statement
from tatu.core.authority import (
    MAX_HOST_VALIDITY,
    RETIRED,
    SKEW,
    Authority,
    AuthorityKey,
    KeyState,
    Purpose,
)
from tatu.core.errors import Conflict, Gone, Malformed, Unavailable
from tatu.core.keys import PublicKey
from tatu.core.krl import Krl, Serials
from tatu.core.principals import RoleMap
from tatu.core.statement import EVERY_HOST, BreakGlass, Freshness, Statement
from tatu.ports import Clock, IdentityProvider, KeyStore, Ledger, Publication, RevocationFacts
from tatu.service import signing

_ATTEMPTS = 8
_LOOKED_AT = 64  # publications: only those of the second in which a key was made may lack it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How statements are made.

    A statement is replaced when half of its lifetime (15 minutes at most) is over. Only with
    `lockdown` may one take the last account, or sudo, from every host.
    """

    lifetime: timedelta
    end_at_expiry: bool
    break_glass: BreakGlass | None
    freshness: Freshness
    minimum_agent_version: str
    lockdown: bool


@dataclass(frozen=True, kw_only=True)
class Statements:
    """Builds, signs, numbers and keeps statements; every process serves what was kept."""

    ledger: Ledger
    keystore: KeyStore
    identities: IdentityProvider
    clock: Clock
    role_map: RoleMap
    settings: Settings
    deployment: str
    _begun: datetime = field(init=False, repr=False)
    _building: dict[str, threading.Lock] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Know since when these settings hold."""
        object.__setattr__(self, "_begun", self.clock())

    def newest(self, authority_id: str) -> Publication:
        """Return the newest statement: all that was revoked before this call is in its KRL.

        While none can be signed, one that says all there is stands until it expires.
        Raises `NotFound` for no authority, `Unavailable`, `Conflict` when there is nothing that
        could be stated (no key, no account), or `Gone` when an authority is retired for so long
        that no certificate of a host can remain, or its keys were destroyed.
        """
        found = self._current(authority_id)
        if found is not None:
            return found
        # One build at a time here; those who waited find what it built. Other processes may
        # build at once: the ledger takes one of them, and the others serve that one.
        with self._building.setdefault(authority_id, threading.Lock()):
            for _ in range(_ATTEMPTS):
                found = self._current(authority_id)
                if found is not None:
                    return found
                try:
                    self._build(authority_id)
                except Unavailable:
                    found = self._current(authority_id, of_age=True)
                    if found is None:
                        raise
                    return found
        raise Unavailable(f"the statement of {authority_id!r} changes faster than it is built")

    def publish(self, authority_id: str) -> Publication | None:
        """Return the newest statement, or None when it cannot be built yet.

        Raises `NotFound` for no authority.
        """
        try:
            return self.newest(authority_id)
        except (Conflict, Gone, Unavailable):
            return None

    def announced_for(self, authority_id: str, key: AuthorityKey) -> timedelta | None:
        """Return how long statements have told hosts of a key; None when none did yet."""
        # Times of issue are whole seconds: some of that second may be older than the key.
        begun = key.created_at.replace(microsecond=0)
        for found in self.ledger.publications.issued_since(authority_id, begun, limit=_LOOKED_AT):
            told = _read(found)
            if told and key.public_key in (
                *told.user_authorities,
                *told.host_authorities,
                *told.statement_keys,
            ):
                return self.clock() - found.issued_at
        return None

    def krl(self, authority_id: str, version: int | None = None) -> bytes:
        """Return a KRL; None is the newest. Raises `NotFound`, and what `newest` raises."""
        if version is None:
            version = self.newest(authority_id).krl_version
        return self.ledger.publications.krl(authority_id, version)

    def _current(self, authority_id: str, *, of_age: bool = False) -> Publication | None:
        """Return the newest publication if it still says all there is, and for long enough.

        `of_age`: even if not for long.
        It is read before the revision: what changes in between makes them differ, never agree.
        """
        found = self.ledger.publications.newest(authority_id)
        revision = self.ledger.publications.revision(authority_id)
        return found if self._stands(found, revision, of_age=of_age) else None

    def _stands(self, found: Publication | None, revision: int, *, of_age: bool = False) -> bool:
        if found is None or found.revision != revision:
            return False
        if not of_age and found.issued_at < self._begun and not self._says(found):
            return False
        longest = found.expires_at - found.issued_at if of_age else self.settings.lifetime / 2
        # A clock that was set back must not keep a statement for longer.
        return abs(self.clock() - found.issued_at) < longest

    def _says(self, found: Publication) -> bool:
        """Whether a statement from before this process says what is configured now.

        Later ones are not asked: while two processes differ they must not outdo one another.
        """
        said, wanted = _read(found), self.settings
        return said is not None and wanted == replace(
            wanted,
            end_at_expiry=said.end_at_expiry,
            break_glass=said.break_glass,
            freshness=said.freshness,
            minimum_agent_version=said.minimum_agent_version,
            lockdown=said.lockdown,
        )

    def _build(self, authority_id: str) -> None:
        # The revision is read first: a change after it may be in, but is built once more.
        revision = self.ledger.publications.revision(authority_id)
        last = self.ledger.publications.newest(authority_id)
        if self._stands(last, revision):
            return  # another process built it since the caller looked
        now = self.clock().replace(microsecond=0)
        authority = self.ledger.authorities.get(authority_id)
        _check_hosts_remain(authority, now)
        facts = self.ledger.revocations.facts(authority_id, now)
        krl_version, krl_bytes, is_new = self._krl(authority_id, facts, last)
        # What changed may be the roles: then none that were found out before it count.
        changed = last is None or last.revision != revision
        accounts, sudo = self._accounts(last, since=self.clock() if changed else None)
        try:
            contents = Statement(
                deployment=self.deployment,
                authority=authority_id,
                host=EVERY_HOST,
                version=statement.next_version(last.version if last else 0, self.clock()),
                issued=now,
                expires=now + self.settings.lifetime,
                krl_version=krl_version,
                krl_digest=statement.digest(krl_bytes),
                user_authorities=trusted_keys(authority, Purpose.USER, now),
                host_authorities=trusted_keys(authority, Purpose.HOST, now),
                statement_keys=statement_keys(authority),
                accounts=accounts,
                sudo=sudo,
                pam_sudo=authority.profile.pam_sudo,
                end_at_expiry=self.settings.end_at_expiry,
                break_glass=self.settings.break_glass,
                freshness=self.settings.freshness,
                minimum_agent_version=self.settings.minimum_agent_version,
                lockdown=self.settings.lockdown,
            )
        except ValueError as error:
            raise Conflict(f"there is no statement of what stands: {error}") from error
        signer = signing.signer(self.keystore, authority, Purpose.STATEMENT)
        publication = Publication(
            authority=authority_id,
            version=contents.version,
            revision=revision,
            statement=statement.encode(contents),
            signature=signer.sign_statement(contents),
            krl_version=krl_version,
            issued_at=contents.issued,
            expires_at=contents.expires,
        )
        try:
            self.ledger.publications.store(
                publication, krl_bytes if is_new else None, after=last.version if last else 0
            )
        except Conflict:
            return  # another process was faster: whoever called looks at what it stored

    def _krl(
        self, authority_id: str, facts: RevocationFacts, last: Publication | None
    ) -> tuple[int, bytes, bool]:
        """Return the KRL's version and bytes, and whether it is new.

        Hosts fetch a KRL again only when it says something else: its time is made from its
        version, so that the same facts under the last version give the same bytes.
        """
        if last is not None:
            same = _encoded(last.krl_version, facts)
            if same == self.ledger.publications.krl(authority_id, last.krl_version):
                return last.krl_version, same, False
        version = statement.next_version(last.krl_version if last else 0, self.clock())
        return version, _encoded(version, facts), True

    def _accounts(
        self, last: Publication | None, *, since: datetime | None
    ) -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
        """Return the accounts with their principals, and those of them with sudo.

        Where the roles would empty either and no lockdown is set, the last statement's stand: a
        slip in the configuration must lock nobody out, and a host would refuse the statement with
        the revocations in it. Nobody keeps access by that: certificates end with their roles. They
        stand, too, while the cloud does not tell its roles: revocations must go out all the same.
        """
        before = _read(last) if last else None
        try:
            given = self.role_map.of(self.identities.roles(since=since)).given
        except Unavailable:
            if before is None:
                raise
            return before.accounts, before.sudo
        accounts: Mapping[str, tuple[str, ...]] = {account: (account,) for account in given}
        sudo = tuple(a for a, role in given.items() if role.name in self.role_map.sudo)
        if not self.settings.lockdown:
            if before and (not accounts or (before.sudo and not sudo)):
                return before.accounts, before.sudo
            if not accounts:
                raise Conflict("no role opens an account: there is nothing to state")
        return accounts, sudo


def statement_keys(authority: Authority) -> tuple[PublicKey, ...]:
    """Return the keys that a host takes statements by: the current and the next (S2)."""
    return tuple(
        key.public_key
        for key in authority.trusted(Purpose.STATEMENT)
        if key.state is not KeyState.RETIRED
    )


def trusted_keys(authority: Authority, purpose: Purpose, now: datetime) -> tuple[PublicKey, ...]:
    """Return the keys whose certificates may still live; first the one that signs.

    A host whose certificate another key signed renews it.
    """
    user = purpose is Purpose.USER
    longest = (authority.profile.max_user_validity if user else MAX_HOST_VALIDITY) + SKEW
    trusted = sorted(authority.trusted(purpose), key=lambda key: key.state is not KeyState.ACTIVE)
    return tuple(
        key.public_key
        for key in trusted
        if key.retired_at is None or now < key.retired_at + longest
    )


def _read(found: Publication) -> Statement | None:
    """Return what a publication says; None when a release with other fields made it."""
    try:
        return statement.decode(found.statement)
    except Malformed:
        return None


def _check_hosts_remain(authority: Authority, now: datetime) -> None:
    if authority.retired_at and now >= authority.retired_at + MAX_HOST_VALIDITY + SKEW:
        raise Gone(RETIRED)


def _encoded(version: int, facts: RevocationFacts) -> bytes:
    return krl.encode(
        Krl(
            version=version,
            generated_at=datetime.fromtimestamp(version // 1000, UTC),
            comment="",
            serials={key: Serials.of(serials) for key, serials in facts.serials.items()},
            revoked_key_hashes=frozenset(map(_digest, facts.blocked_keys)),
            whole_authorities=facts.revoked_authorities,
        )
    )


def _digest(fingerprint: str) -> bytes:
    return base64.b64decode(fingerprint.removeprefix("SHA256:") + "=")
