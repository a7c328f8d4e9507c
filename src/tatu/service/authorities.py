"""Authorities and their keys."""

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tatu.core import host, lint, policy
from tatu.core.audit import Actor
from tatu.core.authority import (
    EXTENSIONS,
    Authority,
    AuthorityKey,
    KeyAlgorithm,
    KeyState,
    Profile,
    Purpose,
)
from tatu.core.errors import Conflict, Malformed, NotFound, TatuError, Unavailable
from tatu.core.identity import Identity
from tatu.ports import Clock, KeyStore, Ledger, Page
from tatu.service.audit import event
from tatu.service.statements import Statements, trusted_keys

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an authority's id may be: it stands in URLs, file names and statements."""

MAX_TRUSTED = 8
"""Keys of a purpose in one statement, whose readers refuse over 16."""

ANNOUNCED_LIFETIMES = 2
"""Lifetimes of a statement for which a key is announced before it signs."""

_UNKNOWN = {
    Purpose.USER: "hosts refuse the certificates that it signs until they have the next statement",
    Purpose.HOST: "clients do not know the hosts that it certifies until they ask again",
    Purpose.STATEMENT: "a host that has not heard of it obeys no statement until it enrols again",
}

_NOT_LABEL = re.compile(r"[^a-z0-9]+")
_MAX_LABEL = 63
_SHORT_ID = 8
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a new authority is given.

    `dns_suffix` may hold `{project}` for the project's name, written as a DNS label; where
    another has that already, the first eight characters of the project's id are added.
    """

    algorithms: Mapping[Purpose, KeyAlgorithm]
    profile: Profile
    dns_suffix: str


@dataclass(frozen=True, kw_only=True)
class Authorities:
    """Makes authorities and leads their keys through their lives."""

    ledger: Ledger
    keystore: KeyStore
    statements: Statements
    clock: Clock
    limits: lint.Limits
    defaults: Defaults

    def create(
        self, by: Identity | Actor, project: str, name: str, *, request_id: str
    ) -> Authority:
        """Make a project's authority: its three keys, and the first statement.

        Raises `Conflict` when the project has one, `Malformed`, or `Unavailable`.
        """
        if not ID.fullmatch(project):
            raise Malformed(f"{project!r} cannot be the id of an authority")
        if self._exists(project):
            raise Conflict(f"project {project!r} has an authority already")
        profile = self._first_profile(project, name)
        now = self.clock()
        keys = self._new_keys()
        authority = Authority(id=project, name=name, profile=profile, keys=keys, created_at=now)
        try:
            self.ledger.authorities.create(
                authority,
                event(
                    "authority.created",
                    by=by,
                    at=now,
                    subject=project,
                    authority=project,
                    request_id=request_id,
                    name=name,
                    keys={str(key.purpose): key.public_key.fingerprint for key in keys},
                ),
            )
        except Conflict:  # a ledger that does not answer may have them all the same
            self._discard(*keys)
            raise
        self.statements.publish(project)
        return self.ledger.authorities.get(project)

    def show(self, authority_id: str) -> Authority:
        """Return an authority. Raises `NotFound`."""
        return self.ledger.authorities.get(authority_id)

    def list(
        self, *, only: Sequence[str] | None, limit: int, marker: str | None
    ) -> Page[Authority]:
        """Return authorities by id; `only` confines to these ids, None means all."""
        return self.ledger.authorities.list(only=only, limit=limit, marker=marker)

    def change_profile(
        self, identity: Identity, authority_id: str, profile: Profile, *, request_id: str
    ) -> Authority:
        """Replace the limits. Raises `NotFound`, `Malformed`, or `Conflict` for a DNS suffix."""
        return self.ledger.authorities.change_profile(
            authority_id,
            self._checked(authority_id, profile),
            event(
                "authority.profile-changed",
                by=identity,
                at=self.clock(),
                subject=authority_id,
                authority=authority_id,
                request_id=request_id,
                user_validity=int(profile.user_validity.total_seconds()),
                max_user_validity=int(profile.max_user_validity.total_seconds()),
                host_validity=int(profile.host_validity.total_seconds()),
                extensions=sorted(profile.extensions),
                source_addresses=[*profile.source_addresses],
                dns_suffix=profile.dns_suffix,
                pam_sudo=profile.pam_sudo,
            ),
        )

    def add_key(
        self, identity: Identity, authority_id: str, purpose: Purpose, *, request_id: str
    ) -> Authority:
        """Make a key that hosts learn to trust before it signs.

        Raises `NotFound`, `Conflict` when one is NEXT already, or `Unavailable`.
        """
        authority = self.ledger.authorities.get(authority_id)
        if any(k.purpose is purpose and k.state is KeyState.NEXT for k in authority.keys):
            raise Conflict(f"authority {authority_id!r} has a next {purpose} key already")
        if len(trusted_keys(authority, purpose, self.clock())) >= MAX_TRUSTED:
            raise Conflict(
                f"hosts trust {MAX_TRUSTED} {purpose} keys already; revoke one, or wait until the"
                " certificates of the oldest have ended"
            )
        key = self._new_key(purpose, KeyState.NEXT)
        try:
            added = self.ledger.authorities.add_key(
                authority_id,
                key,
                event(
                    "authority.key-added",
                    by=identity,
                    at=self.clock(),
                    subject=key.public_key.fingerprint,
                    authority=authority_id,
                    request_id=request_id,
                    purpose=str(purpose),
                ),
            )
        except (Conflict, NotFound):  # see `create`
            self._discard(key)
            raise
        self._announce(authority_id)
        return added

    def change_key(
        self,
        identity: Identity,
        authority_id: str,
        fingerprint: str,
        state: KeyState,
        *,
        revoked: bool = False,
        at_once: bool = False,
        request_id: str,
    ) -> Authority:
        """Make a NEXT key ACTIVE (its predecessor retires), or retire a key, or revoke it too.

        A key signs only after statements have told of it for two of their lifetimes, unless
        `at_once`: whoever has not heard of it refuses what it signs. A key that signs is never
        left without a successor: without a statement key no revocation could be published,
        without a user key no host would obey. Raises `NotFound`, or `Conflict` with what to do
        first.
        """
        authority = self.ledger.authorities.get(authority_id)
        key = _find(authority, fingerprint)
        if state is KeyState.NEXT or (revoked and state is not KeyState.RETIRED):
            raise Malformed("a key becomes active, or retired, or retired and revoked")
        if state is KeyState.RETIRED and key.state is KeyState.ACTIVE:
            raise Conflict(
                f"this is the active {key.purpose} key: add a key and make it active first"
            )
        if state is KeyState.ACTIVE and key.state is KeyState.NEXT and not at_once:
            self._check_announced(authority_id, key)
        return self.ledger.authorities.set_key_state(
            authority_id,
            key.reference,
            state,
            event(
                "authority.key-revoked" if revoked else f"authority.key-{state}",
                by=identity,
                at=self.clock(),
                subject=fingerprint,
                authority=authority_id,
                request_id=request_id,
                purpose=str(key.purpose),
                **({"at_once": True} if at_once else {}),
            ),
            revoked=revoked,
        )

    def kept_keys(self, authority_id: str) -> tuple[AuthorityKey, ...]:
        """Return the keys of a retired authority that are not destroyed yet.

        Raises `NotFound`, or `Conflict` for an authority that is not retired.
        """
        authority = self.ledger.authorities.get(authority_id)
        if authority.retired_at is None:
            raise Conflict(f"authority {authority_id!r} is not retired: its keys are in use")
        return tuple(key for key in authority.keys if self._is_kept(key))

    def destroy_keys(self, by: Identity | Actor, authority_id: str) -> int:
        """Destroy the private keys of a retired authority, for ever; return how many there were.

        Raises what `kept_keys` raises, or `Unavailable`: then do it again.
        """
        left = self.kept_keys(authority_id)
        if not left:
            return 0
        # First, so that nothing is destroyed unseen; who does it again says so again.
        self.ledger.audit.append(
            event(
                "authority.keys-destroyed",
                by=by,
                at=self.clock(),
                subject=authority_id,
                authority=authority_id,
                keys=[key.public_key.fingerprint for key in left],
            )
        )
        for key in left:
            self.keystore.delete(key.reference)
        return len(left)

    def _is_kept(self, key: AuthorityKey) -> bool:
        try:
            self.keystore.signer(key.reference)
        except NotFound:
            return False
        except Unavailable:  # there and damaged, or the key store is out, as deleting will tell
            return True
        return True

    def _announce(self, authority_id: str) -> None:
        """Let hosts learn of a new key from now on.

        It stands also when no statement can be signed: the key that would may be the one lost.
        """
        with contextlib.suppress(TatuError):
            self.statements.newest(authority_id)

    def _check_announced(self, authority_id: str, key: AuthorityKey) -> None:
        """Refuse a key that hosts cannot know yet: two changes in a row would make all deaf."""
        self._announce(authority_id)
        announced = self.statements.announced_for(authority_id, key)
        wait = ANNOUNCED_LIFETIMES * self.statements.settings.lifetime
        left = wait if announced is None else wait - announced
        if left > timedelta():
            raise Conflict(
                f"hosts and clients must learn of this {key.purpose} key first: wait"
                f" {math.ceil(left / _SECOND)} seconds. At once, {_UNKNOWN[key.purpose]}"
            )

    def _new_keys(self) -> tuple[AuthorityKey, ...]:
        """Make a key for each purpose, or none."""
        made: list[AuthorityKey] = []
        try:
            for purpose in Purpose:
                made += [self._new_key(purpose, KeyState.ACTIVE)]
        except TatuError:
            self._discard(*made)
            raise
        return tuple(made)

    def _discard(self, *keys: AuthorityKey) -> None:
        """Destroy keys that nobody will use; what failed before is what the caller is told."""
        for key in keys:
            with contextlib.suppress(TatuError):
                self.keystore.delete(key.reference)

    def _new_key(self, purpose: Purpose, state: KeyState) -> AuthorityKey:
        reference, public_key = self.keystore.create(self.defaults.algorithms[purpose])
        return AuthorityKey(
            reference=reference,
            purpose=purpose,
            state=state,
            public_key=public_key,
            created_at=self.clock(),
        )

    def _exists(self, authority_id: str) -> bool:
        try:
            self.ledger.authorities.get(authority_id)
        except NotFound:
            return False
        return True

    def _first_profile(self, project: str, name: str) -> Profile:
        """Return the limits of a new authority.

        Projects of several domains may have one name: the first has the suffix, and of the
        others part of the id stands in it.
        """

        def called(label: str) -> Profile:
            suffix = self.defaults.dns_suffix.replace("{project}", label)
            return self._checked(project, replace(self.defaults.profile, dns_suffix=suffix))

        label = _label(name) or project.lower()
        try:
            return called(label)
        except Conflict:
            short = label[: _MAX_LABEL - _SHORT_ID - 1].rstrip("-")
            return called(f"{short}-{_label(project)[:_SHORT_ID].rstrip('-')}")

    def _checked(self, authority_id: str, profile: Profile) -> Profile:
        """Return the profile; two authorities may not speak for the same host names (S8)."""
        for what, validity, limit in (
            ("user_validity", profile.user_validity, profile.max_user_validity),
            ("max_user_validity", profile.max_user_validity, self.limits.max_user_validity),
            ("host_validity", profile.host_validity, self.limits.max_host_validity),
        ):
            if not _SECOND <= validity <= limit or validity % _SECOND:
                raise Malformed(f"{what} is whole seconds, from 1 to {limit // _SECOND}")
        if unknown := profile.extensions - EXTENSIONS:
            raise Malformed(f"a profile cannot grant {', '.join(map(repr, sorted(unknown)))}")
        for text in profile.source_addresses:
            policy.network(text)
        suffix = profile.dns_suffix
        if not suffix:
            return profile
        if host.name(suffix) != suffix or "." not in suffix:
            raise Malformed(f"{suffix!r} is no DNS suffix: two or more lower-case labels")
        for other, theirs in self.ledger.authorities.suffixes().items():
            if other != authority_id and _overlap(suffix, theirs):
                raise Conflict(f"the DNS suffix {suffix!r} overlaps another authority's")
        return profile


def _label(text: str) -> str:
    return _NOT_LABEL.sub("-", text.lower()).strip("-")


def _overlap(one: str, other: str) -> bool:
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def _find(authority: Authority, fingerprint: str) -> AuthorityKey:
    for key in authority.keys:
        if key.public_key.fingerprint == fingerprint:
            return key
    raise NotFound(f"authority {authority.id!r} has no key {fingerprint}")
