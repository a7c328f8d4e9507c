"""Ending access: revocations, losses, and the sweeps that follow them (security.md S4)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from tatu.core.audit import SYSTEM
from tatu.core.certificate import CertificateType
from tatu.core.errors import NotFound, Unavailable
from tatu.core.identity import Identity, Role
from tatu.core.keys import PublicKey
from tatu.core.losses import Sweep
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
from tatu.service.paging import every
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
                subject=_shown(selector),
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
        self, identity: Identity, authority_id: str, host_id: str, *, request_id: str
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

    def sweep(self) -> int:
        """Revoke the certificates that unswept cut-offs left without permission; count them.

        Exactly those go whose holder no longer has every role that they were issued for. What
        cannot be judged or revoked now stays unswept, for the next time.
        """
        ended: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        marks = []
        for cut_off in self.ledger.cut_offs.unswept():
            try:
                doomed = [(found.authority, found.serial) for found in self._doomed(cut_off)]
            except Unavailable:
                continue
            marks.append(cut_off.mark)
            for authority, serial in doomed:
                ended[cut_off.reason][authority].add(serial)
        try:
            count = sum(self._end(reason, serials) for reason, serials in ended.items())
            self.ledger.cut_offs.swept(*marks)
        except Unavailable:
            return 0
        return count

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

    def _doomed(self, cut_off: Sweep) -> Iterator[LedgerCertificate]:
        match cut_off.parts:
            case "user", subject:
                yield from self._without_roles(subject=subject)
            case "user-in-project", subject, project:
                yield from self._without_roles(subject=subject, authority=project)
            case "project", project:
                yield from self._without_roles(authority=project)
            case "role", _:
                yield from self._without_roles()
            case "host", authority, host:
                yield from self._other_keys_of(authority, host)
            # "subject-key": whoever cut it off revoked its certificates in the same commit.
            # "signature-key": what a retired key signed lives on; a revoked one is in the KRL.

    def _without_roles(
        self, *, subject: str | None = None, authority: str | None = None
    ) -> Iterator[LedgerCertificate]:
        """Yield the users' live certificates that say more than their holders have now."""
        held: dict[tuple[str, str], frozenset[Role]] = {}
        for certificate in self._live(CertificateType.USER, subject=subject, authority=authority):
            holder = certificate.subject, certificate.authority
            if holder not in held:
                held[holder] = self.identities.effective_roles(*holder)
            roles = held[holder]
            # The principals too: a renamed role is a loss of the old name (S5).
            if not (
                set(certificate.roles) <= {role.id for role in roles}
                and set(certificate.principals) <= set(self.role_map.of(roles).given)
            ):
                yield certificate

    def _other_keys_of(self, authority: str, host: str) -> Iterator[LedgerCertificate]:
        """Yield a host's live certificates for keys that it has not enrolled now."""
        try:
            lines = self.ledger.hosts.get(authority, host, scope=None).host_keys
        except NotFound:
            lines = ()
        keys = {PublicKey.parse(line).fingerprint for line in lines}
        for certificate in self._live(CertificateType.HOST, host=host, authority=authority):
            if certificate.subject_key not in keys:
                yield certificate

    def _live(
        self,
        kind: CertificateType,
        *,
        subject: str | None = None,
        host: str | None = None,
        authority: str | None,
    ) -> Iterator[LedgerCertificate]:
        wanted = CertificateFilter(
            authorities=None if authority is None else (authority,),
            type=kind,
            subject=subject,
            host=host,
            live_at=self.clock(),
            revoked=False,
        )
        return every(partial(self.ledger.certificates.list, wanted))


def _shown(selector: RevocationSelector) -> str:
    for kind, value in (
        ("serial", selector.serial),
        ("subject-key", selector.subject_key),
        ("user", selector.subject),
        ("host", selector.host),
    ):
        if value is not None:
            return f"{kind} {value}"
    return "everything"
