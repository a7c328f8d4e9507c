"""Renewal: an enrolled host gets certificates for the names that it has now (S8, S12)."""

from collections.abc import Sequence
from dataclasses import dataclass

from tatu.core.audit import Event
from tatu.core.errors import Denied, NotFound, PermissionEnded, Unauthenticated
from tatu.core.host import Host
from tatu.core.keys import PublicKey
from tatu.ports import Clock, Ledger, LedgerCertificate
from tatu.service.audit import append_some, host_event
from tatu.service.hostcertificates import HostCertificates, check_admissible
from tatu.service.instances import Instances


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """Renews the certificates of hosts."""

    ledger: Ledger
    certificates: HostCertificates
    instances: Instances
    clock: Clock

    def renew(self, found: Host, *, request_id: str) -> Sequence[LedgerCertificate]:
        """Return a certificate for each key of this enrolment, in its order.

        One that lives well yet is returned again. Of an instance the inventory is asked first;
        certificates that name what it has no more are revoked by that, the others live on to their
        end: the host may never see this answer. Raises `Denied`, written down, for a blocked host
        or an instance that is gone; `Gone` for a retired authority, `Unauthenticated` when the
        host is no more what it was, `Unavailable`.
        """
        try:
            return self._renew(found, request_id)
        except PermissionEnded:  # maybe it was called otherwise meanwhile: look again, once
            return self._renew(found, request_id)
        except Denied as error:
            denied = self._event("host.renewal-denied", found, request_id, reason=str(error))
            append_some(self.ledger, denied, found.authority, found.id)
            raise

    def _renew(self, found: Host, request_id: str) -> Sequence[LedgerCertificate]:
        self.instances.current(found, request_id=request_id)
        snapshot = self.ledger.authorities.snapshot(found.authority)
        check_admissible(snapshot, found)
        called = self._again(found)  # what changes after this is newer than the snapshot's mark
        certificates = [
            self.certificates.standing(
                snapshot, called, PublicKey.parse(line), request_id, proven=True
            )
            for line in called.host_keys
        ]
        if called.renewal_due_at is not None:
            self.ledger.hosts.renewed(
                found.authority,
                found.id,
                principals=called.principals,
                event=self._event(
                    "host.renewed",
                    found,
                    request_id,
                    serials=[certificate.serial for certificate in certificates],
                ),
            )
        return certificates

    def _event(self, action: str, found: Host, request_id: str, **facts: object) -> Event:
        return host_event(
            action, found.authority, found.id, at=self.clock(), request_id=request_id, **facts
        )

    def _again(self, found: Host) -> Host:
        """Return the host as it is now, if these keys are still its own."""
        try:
            now = self.ledger.hosts.get(found.authority, found.id, scope=None)
        except NotFound as error:
            raise Unauthenticated("the host is no more") from error
        if (now.epoch, now.host_keys) != (found.epoch, found.host_keys):
            raise Unauthenticated("the host was admitted again: it has to enrol")
        return now
