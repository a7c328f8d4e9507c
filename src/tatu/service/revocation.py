"""Ending access: revocations, losses, and the sweeps that follow them (security.md S4)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from tatu.core.audit import SYSTEM, Actor
from tatu.core.certificate import CertificateType
from tatu.core.errors import NotFound, TatuError, Unavailable
from tatu.core.identity import TRUST, Identity
from tatu.core.keys import PublicKey
from tatu.core.losses import Sweep, Topic
from tatu.core.principals import RoleMap
from tatu.ports import (
    CertificateFilter,
    Clock,
    IdentityProvider,
    Ledger,
    LedgerCertificate,
    RevocationSelector,
)
from tatu.service.audit import event
from tatu.service.judging import Judge
from tatu.service.paging import every
from tatu.service.settling import Settling
from tatu.service.statements import Statements


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """What was revoked by this call.

    `krl_version` is that of the newest KRL, or None when it could not be built yet: it is then
    built for the next host that asks.
    """

    serials: tuple[int, ...]
    krl_version: int | None


@dataclass(frozen=True, kw_only=True)
class Revocation:
    """Revokes what it is told to, and what a loss leaves without its permission."""

    ledger: Ledger
    identities: IdentityProvider
    statements: Statements
    role_map: RoleMap
    clock: Clock
    _settling: Settling = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Wait for the source to know of what it tells."""
        settling = Settling(ledger=self.ledger, identities=self.identities, clock=self.clock)
        object.__setattr__(self, "_settling", settling)

    def revoke(
        self,
        identity: Identity,
        selector: RevocationSelector,
        reason: str,
        *,
        request_id: str,
    ) -> Revoked:
        """Revoke what the selector names, within what the caller was found to be allowed.

        On return it is durable, and every KRL served from now on holds it. Idempotent. Raises
        `NotFound` when a named serial, key, user or host never had a certificate here.
        """
        serials = self.ledger.revocations.revoke(
            selector,
            reason,
            event(
                "certificates.revoked",
                by=identity,
                at=self.clock(),
                subject=str(selector),
                authority=selector.authority,
                request_id=request_id,
                reason=reason,
                block=selector.block,
            ),
        )
        published = self.statements.publish(selector.authority)
        return Revoked(
            serials=serials, krl_version=None if published is None else published.krl_version
        )

    def clear_block(
        self, identity: Identity, authority_id: str, block_id: int, *, request_id: str
    ) -> None:
        """Lift a block: new certificates may be issued, old ones stay revoked.

        Raises `NotFound`.
        """
        self.ledger.revocations.clear_block(
            authority_id,
            block_id,
            event(
                "block.cleared",
                by=identity,
                at=self.clock(),
                subject=str(block_id),
                authority=authority_id,
                request_id=request_id,
            ),
        )

    def delete_host(
        self, identity: Identity | Actor, authority_id: str, host_id: str, *, request_id: str
    ) -> None:
        """End a host: its names are free, its certificates revoked. Raises `NotFound`."""
        self.ledger.hosts.delete(
            authority_id,
            host_id,
            event(
                "host.deleted",
                by=identity,
                at=self.clock(),
                subject=host_id,
                authority=authority_id,
                request_id=request_id,
            ),
        )
        self.sweep()

    def lose(
        self,
        topics: Sequence[Topic],
        reason: str,
        *,
        by: Identity | Actor = SYSTEM,
        facts: Mapping[str, object] | None = None,
    ) -> int:
        """Commit the cut-offs of losses, then sweep; return how many certificates were revoked.

        On return nothing that was decided before can be recorded any more; what cannot be judged
        now stays unswept, for the next time. Raises `Unavailable`: then nothing is committed.
        """
        lost = event("permission.ended", by=by, at=self.clock(), subject=reason)
        self.ledger.cut_offs.commit(topics, reason, replace(lost, facts=facts or {}))
        return self.sweep()

    def sweep(self) -> int:
        """Revoke the certificates that unswept cut-offs left without permission; count them.

        Exactly those go whose holder no longer has every role that they were issued for. What
        cannot be judged or revoked now stays unswept, for the next time. So does, judged once,
        what the source told within its lag, until it is cut off again (`service.settling`).
        Hosts of the authorities that lost something find the next statement ready. Two sweeps at
        once are harmless.
        """
        ended: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        found = self._settling.unswept()
        unswept: defaultdict[Topic, list[Sweep]] = defaultdict(list)
        for cut_off in found.cut_offs:
            unswept[cut_off.topic].append(cut_off)
        # what is asked for from here on is younger than all of them
        judge = Judge(identities=self.identities, role_map=self.role_map, since=self.clock())
        judged: set[int] = set()
        for same in unswept.values():  # a thousand losses may be one topic's
            try:
                doomed = [(each.authority, each.serial) for each in self._doomed(same[0], judge)]
            except Unavailable:
                continue
            for authority, serial in doomed:
                ended[same[0].reason][authority].add(serial)
            judged |= {cut_off.mark for cut_off in same}
        try:
            count = sum(self._end(reason, serials) for reason, serials in ended.items())
            self.ledger.cut_offs.swept(*sorted(judged - found.early))
        except Unavailable:
            return 0
        self._settling.note_judged(judged & found.early)
        for authority in {authority for serials in ended.values() for authority in serials}:
            with suppress(TatuError):  # the revocations stand; whoever asks next is told why
                self.statements.publish(authority)
        return count

    def due(self) -> timedelta | None:
        """Return how long until what was swept too early is swept again, None for nothing."""
        return self._settling.due()

    def _end(self, reason: str, serials: Mapping[str, Collection[int]]) -> int:
        return self.ledger.revocations.revoke_serials(
            {authority: sorted(some) for authority, some in serials.items()},
            reason,
            event(
                "certificates.revoked",
                by=SYSTEM,
                at=self.clock(),
                subject="sweep",
                reason=reason,
            ),
        )

    def _doomed(self, cut_off: Sweep, judge: Judge) -> Iterator[LedgerCertificate]:
        match cut_off.parts:
            case "user", subject:
                yield from self._without_roles(judge, subject=subject, listed=False)
                yield from self._without_trustee(judge)
            case "user-in-project", subject, project:
                yield from self._without_roles(
                    judge, subject=subject, authority=project, listed=False
                )
            case "project", project:
                yield from self._without_roles(judge, authority=project)
            case "role", role:
                yield from self._without_roles(judge, role=role)
            case ("everyone",):
                yield from self._without_roles(judge)
                yield from self._without_trustee(judge)
            case "origin", origin:
                yield from self._live(CertificateFilter(authorities=None, origin=origin))
            case "host", authority, host:
                yield from self._other_keys_of(authority, host)
            # "subject-key": whoever cut it off revoked its certificates in the same commit.
            # "signature-key": what a retired key signed lives on; a revoked one is in the KRL.

    def _without_roles(
        self,
        judge: Judge,
        *,
        subject: str | None = None,
        authority: str | None = None,
        role: str | None = None,
        listed: bool = True,
    ) -> Iterator[LedgerCertificate]:
        """Yield the users' live certificates that say more than their holders have now."""
        # one authority at a time: the ledger then reads live certificates alone, not all
        everywhere = subject is None and authority is None
        for place in self._authorities() if everywhere else (authority,):
            wanted = CertificateFilter(
                authorities=None if place is None else (place,),
                type=CertificateType.USER,
                subject=subject,
                role=role,
            )
            for certificate in self._live(wanted):
                if judge.has_lost(certificate, listed=listed):
                    yield certificate

    def _without_trustee(self, judge: Judge) -> Iterator[LedgerCertificate]:
        """Yield what was got by a trust that ended, or whose trustee did: it names the trustor."""
        wanted = CertificateFilter(authorities=None, origin_begins=TRUST)
        for certificate in self._live(wanted):
            if judge.has_taken_back(certificate.subject, certificate.origin):
                yield certificate

    def _authorities(self) -> Iterator[str]:
        for authority in every(partial(self.ledger.authorities.list, only=None)):
            if authority.retired_at is None:
                yield authority.id

    def _other_keys_of(self, authority: str, host: str) -> Iterator[LedgerCertificate]:
        """Yield a host's live certificates for keys that it has not enrolled now."""
        try:
            lines = self.ledger.hosts.get(authority, host, scope=None).host_keys
        except NotFound:
            lines = ()
        keys = {PublicKey.parse(line).fingerprint for line in lines}
        wanted = CertificateFilter(authorities=(authority,), type=CertificateType.HOST, host=host)
        for certificate in self._live(wanted):
            if certificate.subject_key not in keys:
                yield certificate

    def _live(self, wanted: CertificateFilter) -> Iterator[LedgerCertificate]:
        wanted = replace(wanted, live_at=self.clock(), revoked=False)
        return every(partial(self.ledger.certificates.list, wanted))
