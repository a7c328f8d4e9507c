"""What the ledger has and the cloud has not: losses that nobody told of.

Listings only say where to look. Each absence is confirmed by a question about that very user,
project, credential or instance before it counts; what cannot be answered counts as nothing (S22).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from tatu.core.certificate import CertificateType
from tatu.core.errors import NotFound, Unavailable
from tatu.core.host import Host
from tatu.core.identity import LENT
from tatu.core.principals import RoleMap
from tatu.ports import (
    CertificateFilter,
    IdentityProvider,
    Inventory,
    Ledger,
    LedgerCertificate,
    Project,
)
from tatu.service.judging import Judge
from tatu.service.paging import every

KINDS = USER, ORIGIN, HOST = "user", "origin", "host"


@dataclass(frozen=True, kw_only=True, order=True)
class Loss:
    """A `user` or a `host` (`kind`) of an authority, or an `origin`: what a user lent there."""

    authority: str
    kind: str
    value: str


@dataclass(kw_only=True)
class Comparison:
    """One comparison, as of `now`; `stay` is called between its steps, and may raise.

    `concerned` is, by kind, what could be lost: users with live certificates in each authority,
    what these came by that was lent, and hosts that are instances. `gone` are the projects that
    are disabled or not there.
    """

    ledger: Ledger
    identities: IdentityProvider
    inventory: Inventory
    role_map: RoleMap
    now: datetime
    stay: Callable[[], None]
    projects: list[Project] = field(default_factory=list, init=False)
    authorities: set[str] = field(default_factory=set, init=False)
    hosts: list[Host] = field(default_factory=list, init=False)
    losses: set[Loss] = field(default_factory=set, init=False)
    unjudged: set[Loss] = field(default_factory=set, init=False)
    gone: set[str] = field(default_factory=set, init=False)
    concerned: dict[str, set[Loss]] = field(
        default_factory=lambda: {kind: set() for kind in KINDS}, init=False
    )
    troubles: list[str] = field(default_factory=list, init=False)
    calls: int = field(default=0, init=False)

    def compare(self) -> None:
        """Find what is lost. Raises `Unavailable` when the ledger does not answer."""
        self._compare_users()
        self._compare_hosts()

    def _compare_users(self) -> None:
        judge = Judge(identities=self.identities, role_map=self.role_map, since=self.now)
        self.calls += 1
        try:
            for project in self.identities.projects(since=self.now):
                self.projects.append(project)
                judge.know(project)
        except Unavailable as error:  # a part of a list is none: each project is asked for itself
            self.troubles.append(f"projects: {error}")
            self.projects.clear()
        for authority in every(partial(self.ledger.authorities.list, only=None)):
            self.authorities.add(authority.id)
            if authority.retired_at is None:
                self.stay()
                self._compare_users_of(authority.id, judge)
        self.calls += judge.asked

    def _compare_users_of(self, authority: str, judge: Judge) -> None:
        held: defaultdict[str, list[LedgerCertificate]] = defaultdict(list)
        wanted = CertificateFilter(
            authorities=(authority,),
            type=CertificateType.USER,
            live_at=self.now,
            revoked=False,
        )
        for certificate in every(partial(self.ledger.certificates.list, wanted)):
            held[certificate.subject].append(certificate)
        for subject, certificates in held.items():
            with self._counted(Loss(authority=authority, kind=USER, value=subject)) as loss:
                if any(judge.has_lost(each, listed=True) for each in certificates):
                    self.losses.add(loss)
                    if not judge.project_stands(authority):
                        self.gone.add(authority)
            # a credential may end without a word, and whoever lent it keep every role
            for origin in sorted({each.origin for each in certificates}):
                if origin.startswith(LENT):
                    with self._counted(
                        Loss(authority=authority, kind=ORIGIN, value=origin)
                    ) as loss:
                        if judge.has_taken_back(subject, origin):
                            self.losses.add(loss)

    @contextmanager
    def _counted(self, loss: Loss) -> Iterator[Loss]:
        """Count what may be lost; what cannot be answered is no loss."""
        self.concerned[loss.kind].add(loss)
        try:
            yield loss
        except Unavailable as error:
            self.unjudged.add(loss)
            self.troubles.append(f"{loss.kind} {loss.value} of {loss.authority}: {error}")

    def _compare_hosts(self) -> None:
        listed: set[str] = set()
        self.hosts = [
            host
            for host in every(partial(self.ledger.hosts.list, authorities=None))
            if host.instance
        ]
        self.concerned[HOST] = {
            Loss(authority=host.authority, kind=HOST, value=host.id) for host in self.hosts
        }
        out: Unavailable | None = None
        if self.hosts:
            self.calls += 1
            try:
                listed = set(self.inventory.instances())
            except Unavailable as error:
                self.troubles.append(f"instances: {error}")
                out = error
        for host in self.hosts:
            if host.id in listed:
                continue
            loss = Loss(authority=host.authority, kind=HOST, value=host.id)
            if out is not None:
                self.unjudged.add(loss)
                continue
            self.stay()
            self.calls += 1
            try:
                self.inventory.instance(host.id, project=host.authority)
            except NotFound:
                self.losses.add(loss)
            except Unavailable as error:
                self.unjudged.add(loss)
                self.troubles.append(f"host {host.id} of {host.authority}: {error}")
                out = self.outage()

    def outage(self) -> Unavailable | None:
        """Return why the inventory as a whole does not answer, None when it does."""
        self.calls += 1
        try:
            self.inventory.check()
        except Unavailable as error:
            return error
        return None
