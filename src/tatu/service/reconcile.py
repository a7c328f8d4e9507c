"""Reconciliation: what the cloud's notices missed is found by comparing, and mended.

A loss that is only inferred may be the cloud's mistake. Too many at once are held: whom they
concern gets nothing new, an alarm is raised, and after a while they are applied after all (S22).
Explicit losses never come this way.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from tatu.core import losses
from tatu.core.audit import SYSTEM, Actor, Event
from tatu.core.errors import NotFound, TatuError, Unavailable
from tatu.core.identity import Identity
from tatu.ports import Clock, Held, IdentityProvider, Inventory, Ledger, Project
from tatu.service.audit import event
from tatu.service.comparing import HOST, KINDS, ORIGIN, USER, Comparison, Loss
from tatu.service.revocation import Revocation

LOG = structlog.get_logger("tatu.reconcile")

REASON = "reconciled"
REFRESHED = 200
"""Hosts whose names and addresses are asked for in one run; the next one goes on after them."""

_LEASE = "reconcile"
_LEASED = timedelta(minutes=1)
"""As long, whoever was killed while comparing holds up all others."""

_TOLD = 5  # troubles in a log line


@dataclass(frozen=True, kw_only=True)
class Settings:
    """When the brake holds inferred losses of a kind, and for how long.

    There must be at least `minimum` of them, and more than `share` of all that could be lost.
    """

    share: float
    minimum: int
    hold: timedelta


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one run compared, asked, found and did.

    `skipped`: another process is at it. `origins` are what holders lent; `calls` questions to the
    cloud; `found` the losses that were confirmed, `unjudged` those of which the cloud said
    nothing, `held` what the brake holds now, `applied` what ended.
    """

    skipped: bool = False
    duration: timedelta = timedelta()
    authorities: int = 0
    holders: int = 0
    origins: int = 0
    hosts: int = 0
    calls: int = 0
    found: int = 0
    unjudged: int = 0
    held: int = 0
    applied: int = 0
    released: int = 0
    created: int = 0
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What is to be done with what was found."""

    hold: Sequence[Loss]
    apply: Sequence[Loss]
    settled: Sequence[Held]
    release: Sequence[Held]
    held: int


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """Compares the ledger with the cloud, one process of a deployment (`holder`) at a time.

    `create` makes the authority of a project that has none, None when nobody wants that;
    `refresh` asks what an instance is called now.
    """

    ledger: Ledger
    identities: IdentityProvider
    inventory: Inventory
    revocation: Revocation
    clock: Clock
    settings: Settings
    holder: str
    create: Callable[[Project], object] | None = None
    refresh: Callable[[str], object] | None = None
    _refreshed: list[str] = field(default_factory=list, init=False, repr=False)

    def run(self, *, dry_run: bool = False) -> Report:
        """Compare, and mend what is found; with `dry_run` only tell.

        Raises `Unavailable` when the ledger does not answer. An outage of the cloud is no error:
        what it does not answer is left for the next run.
        """
        begun = self.clock()
        if not dry_run and not self._lease(begun):
            return Report(skipped=True)
        try:
            comparison = Comparison(
                ledger=self.ledger,
                identities=self.identities,
                inventory=self.inventory,
                role_map=self.revocation.role_map,
                now=begun,
                stay=(lambda: None) if dry_run else self._stay(begun),
            )
            comparison.compare()
            verdict = self._judge(comparison)
            created = 0
            if not dry_run:
                self._act(comparison, verdict)
                created = self._create(comparison)
                self._refresh(comparison)
        finally:
            if not dry_run:
                self.ledger.leases.release(_LEASE, self.holder)
        return Report(
            duration=self.clock() - begun,
            authorities=len(comparison.authorities),
            holders=len(comparison.concerned[USER]),
            origins=len(comparison.concerned[ORIGIN]),
            hosts=len(comparison.concerned[HOST]),
            calls=comparison.calls,
            found=len(comparison.losses),
            unjudged=len(comparison.unjudged),
            held=verdict.held,
            applied=len(verdict.apply),
            released=len(verdict.release),
            created=created,
            troubles=tuple(comparison.troubles),
        )

    def watch(self) -> timedelta | None:
        """Run, and log what came of it; what is held is an error that somebody should look at.

        Return how long it is until a hold ends: time for the next run, at the latest.
        """
        report = self.run()
        told: Mapping[str, object] = {
            **vars(report),
            "duration": report.duration.total_seconds(),
            "troubles": report.troubles[:_TOLD],
        }
        LOG.info("reconciled", **told)
        if report.held:
            LOG.error("brake.held", held=report.held)
        now = self.clock()
        left = (held.since + self.settings.hold - now for held in self.held())
        # what is over and stands all the same, nobody could judge: no reason to hurry
        return min((time for time in left if time > timedelta()), default=None)

    def held(self) -> tuple[Held, ...]:
        """Return what the brake holds, the oldest first."""
        return self.ledger.holds.standing()

    def apply(self, held: Sequence[Held], by: Identity | Actor) -> int:
        """End what is held; return how many certificates of users were revoked by it.

        Of users only what the cloud says again is lost.
        """
        count = self._end([_loss(each) for each in held], (), by)
        self.ledger.holds.release(held, self._event("brake.applied", by, len(held)))
        return count

    def release(self, held: Sequence[Held], by: Identity | Actor) -> None:
        """Let go of what is held: it was no loss. The next comparison may find it again."""
        self.ledger.holds.release(held, self._event("brake.released", by, len(held)))

    # --- what is to be done

    def _judge(self, comparison: Comparison) -> _Verdict:
        now = self.clock()
        standing = {_loss(held): held for held in self.held()}
        mass = {kind: self._is_mass(comparison, kind) for kind in KINDS}
        new = sorted(comparison.losses - standing.keys())
        due = [
            loss
            for loss, held in standing.items()
            if loss in comparison.losses and now - held.since >= self.settings.hold
        ]
        # what nobody could judge is neither let go nor applied
        fine = [
            held
            for loss, held in standing.items()
            if loss not in comparison.losses and loss not in comparison.unjudged
        ]
        hold = [loss for loss in new if mass[loss.kind]]
        return _Verdict(
            hold=hold,
            apply=[*due, *(loss for loss in new if not mass[loss.kind])],
            settled=[standing[loss] for loss in due],
            release=fine,
            held=len(standing) + len(hold) - len(due) - len(fine),
        )

    def _is_mass(self, comparison: Comparison, kind: str) -> bool:
        """Whether too many lost something: each user counts once, however many projects they made.

        Who has many projects could else make a mass of themselves, or hide one.
        """
        lost = {loss.value for loss in comparison.losses if loss.kind == kind}
        share = self.settings.share * len({loss.value for loss in comparison.concerned[kind]})
        return len(lost) >= self.settings.minimum and len(lost) > share

    # --- doing it

    def _act(self, comparison: Comparison, verdict: _Verdict) -> None:
        if verdict.hold:
            now = self.clock()
            self.ledger.holds.hold(
                [
                    Held(authority=loss.authority, kind=loss.kind, value=loss.value, since=now)
                    for loss in verdict.hold
                ],
                self._event("brake.held", SYSTEM, len(verdict.hold)),
            )
        if verdict.release:
            self.release(verdict.release, SYSTEM)
        if verdict.apply:
            # what ends a whole project would end what is held of it, too
            waiting = {h.authority for h in self.held() if h not in verdict.settled}
            self._end(verdict.apply, comparison.gone - waiting, SYSTEM)
        if verdict.settled:
            told = self._event("brake.applied", SYSTEM, len(verdict.settled))
            self.ledger.holds.release(verdict.settled, told)

    def _end(self, found: Sequence[Loss], gone: Collection[str], by: Identity | Actor) -> int:
        """Commit the cut-offs of users and of what they lent, delete hosts, and sweep."""
        topics = set()
        for loss in found:
            if loss.kind == HOST:
                self._delete(loss, by)
            elif loss.kind == ORIGIN:
                topics.add(losses.origin(loss.value))
            elif loss.authority in gone:
                topics.add(losses.project(loss.authority))
            else:
                topics.add(losses.user_in_project(loss.value, loss.authority))
        if topics:
            return self.revocation.lose(sorted(topics), REASON, by=by)
        return self.revocation.sweep()

    def _delete(self, loss: Loss, by: Identity | Actor) -> None:
        told = event(
            "host.deleted",
            by=by,
            at=self.clock(),
            subject=loss.value,
            authority=loss.authority,
            reason=REASON,
        )
        with suppress(NotFound):
            self.ledger.hosts.delete(loss.authority, loss.value, told)

    def _create(self, comparison: Comparison) -> int:
        """Make authorities that are missing; one that cannot be made stands in no other's way."""
        count = 0
        for project in comparison.projects if self.create else ():
            if project.enabled and project.id not in comparison.authorities and self.create:
                comparison.stay()
                try:
                    self.create(project)
                    count += 1
                except TatuError as error:
                    comparison.troubles.append(f"authority of {project.id}: {error}")
        return count

    def _refresh(self, comparison: Comparison) -> None:
        """Ask for the names and addresses of some hosts, each run of others."""
        if self.refresh is None:
            return
        ids = sorted({host.id for host in comparison.hosts})
        last = self._refreshed[-1] if self._refreshed else ""
        some = [*(i for i in ids if i > last), *(i for i in ids if i <= last)][:REFRESHED]
        for host_id in some:
            self._refreshed[:] = [host_id]
            comparison.stay()
            try:
                self.refresh(host_id)
            except TatuError as error:  # one that cannot be asked about holds up no other
                comparison.troubles.append(f"host {host_id}: {error}")
                self.ledger.check()
                if isinstance(error, Unavailable) and comparison.outage() is not None:
                    return

    # --- one process at a time

    def _lease(self, now: datetime) -> bool:
        return self.ledger.leases.take(_LEASE, self.holder, now=now, until=now + _LEASED)

    def _stay(self, begun: datetime) -> Callable[[], None]:
        """Return what keeps the lease, and raises `Unavailable` when it is lost."""
        taken = begun

        def stay() -> None:
            nonlocal taken
            now = self.clock()
            if now - taken > _LEASED / 2:
                if not self._lease(now):
                    raise Unavailable("another process has begun to reconcile")
                taken = now

        return stay

    def _event(self, action: str, by: Identity | Actor, count: int) -> Event:
        return event(action, by=by, at=self.clock(), subject="brake", count=count)


def _loss(held: Held) -> Loss:
    return Loss(authority=held.authority, kind=held.kind, value=held.value)
