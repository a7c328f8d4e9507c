"""Reports: how hosts say they are doing (security.md S19)."""

from contextlib import suppress
from dataclasses import dataclass

from tatu.core.claims import LiveSession, Receipt, Report
from tatu.core.errors import NotFound
from tatu.core.host import Host
from tatu.ports import Ledger
from tatu.service.joining import Joined, Joining


@dataclass(frozen=True, kw_only=True)
class HostState:
    """What a host told last, of its own and of the statement that it obeys."""

    report: Report | None
    receipt: Receipt | None


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Keeps reports, and shows them."""

    ledger: Ledger
    joining: Joining

    def take(self, report: Report) -> None:
        """Keep what a host says of itself, in place of what it said before."""
        self.ledger.reports.put(report)

    def state(self, host: Host) -> HostState:
        """Return what a host told since it enrolled."""
        report: Report | None = None
        receipt: Receipt | None = None
        with suppress(NotFound):
            report = self.ledger.reports.get(host.authority, host.id)
        with suppress(NotFound):
            receipt, _ = self.ledger.receipts.get(host.authority, host.id)
        return HostState(report=report, receipt=receipt)

    def joined(self, report: Report, session: LiveSession) -> Joined:
        """Return what the ledger knows of a session's certificate."""
        return self.joining.join(report.authority, session.certificate)
