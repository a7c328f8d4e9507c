"""Instances: machines for which the cloud speaks, and what it hands them (S8, S11, S21).

The inventory says whether an instance is there, when it was built, and what it is called now. An
instance that was just built is admitted by that alone; an older one only by an operator.
"""

import ipaddress
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from tatu.core import host as hosts
from tatu.core.audit import SYSTEM, Actor
from tatu.core.authority import Authority
from tatu.core.enrolment import EnrolmentToken
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Taken, Unavailable
from tatu.core.host import Host
from tatu.core.identity import Identity
from tatu.ports import Clock, IdentityProvider, Instance, Inventory, KeyStore, Ledger, Snapshot
from tatu.service.admission import BLOCKED, token_of
from tatu.service.audit import append_some, event
from tatu.service.authorities import Authorities
from tatu.service.paging import every

_AHEAD = timedelta(minutes=5)
_UNKNOWN = "the cloud knows no such instance of this project"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where instances enrol, and for how long after they were built they are given a token.

    With `create_authorities` a project gets its authority with its first instance.
    """

    url: str
    window: timedelta = timedelta(minutes=10)
    create_authorities: bool = False


@dataclass(frozen=True, kw_only=True)
class Vendordata:
    """What an instance is told: data only (S17).

    `admitted` is the host, with its `token`, while that may be redeemed; else both are None.
    """

    authority: Authority
    host: str
    url: str
    admitted: Host | None
    token: EnrolmentToken | None


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What a host is called, and what it wanted to be called and may not, with the reason."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def told(self) -> list[object]:
        """What is refused, for the audit chain: somebody may want to be another."""
        return [{"name": name, "reason": reason} for name, reason in self.refused]


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Admits instances, and keeps what they are called in step with the cloud."""

    ledger: Ledger
    inventory: Inventory
    identities: IdentityProvider
    authorities: Authorities
    keystore: KeyStore
    clock: Clock
    settings: Settings

    def vendordata(
        self,
        identity: Identity,
        instance_id: str,
        project_id: str,
        *,
        legacy: bool = False,
        request_id: str,
    ) -> Vendordata:
        """Return what an instance is told; of one build, and until it enrols, always the same.

        A token is in it while the window after the build is open, or when an operator admitted the
        host since; a rebuild opens the next epoch. A `legacy` host may also enrol over the
        original's wire. Raises `NotFound` for a project without authority and `Gone` for a
        deleted one; `Denied`, written down, for an instance that the project has not, or that is
        blocked; `Unavailable`.
        """
        snapshot = self._snapshot(project_id)
        try:
            name = self.identities.project(project_id).name if snapshot is None else ""
            instance = self.inventory.instance(instance_id, project=project_id)
        except NotFound as error:
            self._audit_denial(identity, instance_id, project_id, _UNKNOWN, request_id)
            raise Denied(_UNKNOWN) from error
        if snapshot is None:
            snapshot = self._created(identity, project_id, name, request_id)
        if instance.id in snapshot.blocked_hosts:
            self._audit_denial(identity, instance_id, project_id, BLOCKED, request_id)
            raise Denied(BLOCKED)
        authority = snapshot.authority
        found = self._kept(identity, authority, instance, request_id, legacy=legacy)
        token = None
        if found and not found.host_keys and self.clock() < found.admitted_until:
            token = token_of(self.keystore, self.settings.url, authority, found)
        return Vendordata(
            authority=authority,
            host=instance.id,
            url=self.settings.url,
            admitted=found if token else None,
            token=token,
        )

    def current(self, known: Host, *, request_id: str) -> Host:
        """Return a host as it is called now: the inventory is asked about an instance.

        Raises `Denied` when the cloud has it no more, `Unavailable`.
        """
        if not known.instance:
            return known
        authority = self.ledger.authorities.get(known.authority)
        try:
            instance = self.inventory.instance(known.id, project=known.authority)
        except NotFound as error:
            raise Denied(_UNKNOWN) from error
        return self._rebound(SYSTEM, authority, known, instance, request_id)

    def refresh(self, instance_id: str, *, project: str = "", called: str = "") -> None:
        """Give an instance that is a host the names and addresses that it has now.

        What it has no more is revoked (S8), and goes to another that was waiting for it. One that
        is gone stays as it is: its end is told by itself. Without a `project` it is looked for in
        all; one that is `called` what it was is not asked about. Raises `Unavailable`.
        """
        authorities = (project,) if project else None
        found = partial(self.ledger.hosts.list, authorities=authorities, ids=(instance_id,))
        for known in list(every(found)):
            if known.instance and not (called and called.lower() in known.names):
                self._refresh(known)

    def _refresh(self, known: Host) -> None:
        authority = self.ledger.authorities.get(known.authority)
        try:
            instance = self.inventory.instance(known.id, project=known.authority)
            self._rebound(SYSTEM, authority, known, instance, "")
        except NotFound:
            return

    def _snapshot(self, project_id: str) -> Snapshot | None:
        """Return the project's authority, or None when it is still to be made."""
        try:
            snapshot = self.ledger.authorities.snapshot(project_id)
        except NotFound:
            if self.settings.create_authorities:
                return None
            raise
        snapshot.authority.check_not_retired()
        return snapshot

    def _created(
        self, identity: Identity, project_id: str, name: str, request_id: str
    ) -> Snapshot:
        with suppress(Conflict):  # another request was faster
            self.authorities.create(identity, project_id, name, request_id=request_id)
        return self.ledger.authorities.snapshot(project_id)

    def _kept(
        self,
        identity: Identity,
        authority: Authority,
        instance: Instance,
        request_id: str,
        *,
        legacy: bool,
    ) -> Host | None:
        """Return the host as it is called now, admitted if this build of it is new."""
        now = self.clock()
        if instance.built_at > now + _AHEAD:
            raise Unavailable(
                f"the cloud says that instance {instance.id} was built at"
                f" {instance.built_at.isoformat()}: its clock is ahead, or ours is wrong"
            )

        def of_this_build(known: Host) -> bool:
            return known.admitted_at is not None and known.admitted_at >= instance.built_at

        try:
            known = self.ledger.hosts.get(authority.id, instance.id, scope=None)
        except NotFound:
            known = None
        until = instance.built_at + self.settings.window
        if now < until and not (known and of_this_build(known) and (known.legacy or not legacy)):
            at = max(now, instance.built_at)  # so that the epoch is not older than what it is for

            def admit(names: _Names) -> Host:
                wanted = Host(
                    id=instance.id,
                    authority=authority.id,
                    names=names.names,
                    addresses=names.addresses,
                    epoch=1,
                    admitted_until=until,
                    created_at=now,
                    instance=True,
                    legacy=legacy,
                )
                return self.ledger.hosts.admit(
                    wanted,
                    event(
                        "host.admitted",
                        by=identity,
                        at=at,
                        subject=instance.id,
                        authority=authority.id,
                        request_id=request_id,
                        principals=list(wanted.principals),
                        until=until.isoformat(),
                        built_at=instance.built_at.isoformat(),
                        legacy=legacy,
                        refused=names.told,
                    ),
                    stands=of_this_build,
                )

            known = self._settled(authority, instance, admit, request_id)
        if known is None or not known.instance:
            return known
        return self._rebound(identity, authority, known, instance, request_id)

    def _rebound(
        self,
        by: Identity | Actor,
        authority: Authority,
        known: Host,
        instance: Instance,
        request_id: str,
    ) -> Host:
        """Return a host with the names and addresses that its instance has now."""
        called = _called(authority, instance)
        if (known.names, known.addresses) == (called.names, called.addresses):
            return known
        return self._settled(
            authority,
            instance,
            lambda names: self._rebind(known, names, by, request_id),
            request_id,
        )

    def _rebind(
        self,
        known: Host,
        names: _Names,
        by: Identity | Actor,
        request_id: str,
    ) -> Host:
        return self.ledger.hosts.rebind(
            known.authority,
            known.id,
            names=names.names,
            addresses=names.addresses,
            event=event(
                "host.rebound",
                by=by,
                at=self.clock(),
                subject=known.id,
                authority=known.authority,
                request_id=request_id,
                principals=[known.id, *names.names, *names.addresses],
                refused=names.told,
            ),
        )

    def _settled(
        self,
        authority: Authority,
        instance: Instance,
        act: Callable[[_Names], Host],
        request_id: str,
    ) -> Host:
        """Do what names a host; what another host holds rightly, this one does without.

        A holder is asked about first: an address may have moved, and nobody told of the old one.
        """
        names = _called(authority, instance)
        asked: set[str] = set()
        released: list[Host] = []
        while True:
            try:
                found = act(names)
                break
            except Taken as taken:
                if taken.holder not in asked:
                    asked.add(taken.holder)
                    released += self._released(authority, taken.holder, names, request_id)
                else:
                    names = _without(names, taken)
        for other in released:
            self._refresh(other)
        return found

    def _released(
        self, authority: Authority, holder: str, wanted: _Names, request_id: str
    ) -> Sequence[Host]:
        """Take from a host what the inventory gives it no more; return it if there was any.

        One that the inventory cannot tell of keeps its names, and no address that is wanted: the
        inventory has just bound that to another, which must not wait for a holder in vain.
        """
        try:
            known = self.ledger.hosts.get(authority.id, holder, scope=None)
        except NotFound:
            return ()
        if not known.instance:
            return ()
        try:
            instance = self.inventory.instance(holder, project=authority.id)
            called = _called(authority, instance)
        except NotFound:
            called = _Names(names=(), addresses=())
        except Unavailable:
            left = tuple(each for each in known.addresses if each not in wanted.addresses)
            with suppress(NotFound):
                self._rebind(known, _Names(names=known.names, addresses=left), SYSTEM, request_id)
            return ()  # no refresh: it cannot be asked
        kept = _Names(
            names=tuple(name for name in known.names if name in called.names),
            addresses=tuple(each for each in known.addresses if each in called.addresses),
        )
        try:
            now = self._rebind(known, kept, SYSTEM, request_id)
        except NotFound:
            return ()
        return () if now.principals == known.principals else (now,)

    def _audit_denial(
        self, identity: Identity, instance_id: str, project_id: str, why: str, request_id: str
    ) -> None:
        """Write down what was asked in vain, some times."""
        denied = event(
            "vendordata.denied",
            by=identity,
            at=self.clock(),
            subject=instance_id,
            authority=project_id,
            request_id=request_id,
            reason=why,
        )
        append_some(self.ledger, denied, identity.subject)


def _called(authority: Authority, instance: Instance) -> _Names:
    """Return what an instance may be called in its authority (S8)."""
    refused = []
    names: tuple[str, ...] = ()
    try:
        names = hosts.names_within((instance.name,), authority.profile.dns_suffix, of=instance.id)
    except (Malformed, Denied) as error:
        refused.append((instance.name, str(error)))
    addresses: dict[str, None] = {}
    for text in instance.addresses:
        try:
            address = hosts.address(text)
        except Malformed as error:
            refused.append((text, str(error)))
            continue
        parsed = ipaddress.ip_address(address)
        if not (parsed.is_loopback or parsed.is_link_local):  # everybody's, so nobody's
            addresses[address] = None
    return _Names(names=names, addresses=tuple(addresses), refused=tuple(refused))


def _without(names: _Names, taken: Taken) -> _Names:
    """Give up an address, or the name in all its forms."""
    refused = (*names.refused, (taken.principal, str(taken)))
    if taken.principal in names.addresses:
        kept = tuple(address for address in names.addresses if address != taken.principal)
        return _Names(names=names.names, addresses=kept, refused=refused)
    return _Names(names=(), addresses=names.addresses, refused=refused)
