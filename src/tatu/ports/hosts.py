"""The ledger's hosts, and what each of them signed."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event
from tatu.core.claims import Receipt, Report
from tatu.core.host import Host
from tatu.core.losses import Topic
from tatu.ports.common import Page


class Hosts(Protocol):
    """Hosts and their admissions."""

    @abstractmethod
    def admit(
        self,
        host: Host,
        event: Event,
        *,
        mark: int = 0,
        topics: frozenset[Topic] = frozenset(),
        stands: Callable[[Host], bool] | None = None,
    ) -> Host:
        """Add a host, or open the next epoch of a known one (its keys must be proven anew).

        A known host of which `stands` is true only becomes `legacy` if that is wanted: of many who
        admit it at once, one does. A cut-off with one of these topics closes the admission; one
        newer than the mark raises `PermissionEnded`.

        Its certificates that name what it holds no more are revoked in the same commit (S8).
        Raises `Taken` when another live host of the authority holds one of its names or
        addresses, `Gone` when the authority is retired.
        """

    @abstractmethod
    def get(self, authority_id: str, host_id: str, *, scope: Sequence[str] | None) -> Host:
        """Raise `NotFound` when there is none, it is deleted, or it is out of scope."""

    @abstractmethod
    def list(
        self,
        *,
        authorities: Sequence[str] | None,
        ids: Sequence[str] | None = None,
        holding: str | None = None,
        limit: int,
        marker: str | None,
    ) -> Page[Host]:
        """Return the hosts that are not deleted, by authority and id.

        `ids` confines to these, `holding` to whoever has this name or address.
        """

    @abstractmethod
    def enrol(
        self, authority_id: str, host_id: str, epoch: int, keys: Sequence[str], event: Event
    ) -> Host:
        """Bind host keys to this epoch. The same keys again: no change, no error.

        Raises `Conflict` when other keys hold it already (a clone), `Gone` for another epoch.
        """

    @abstractmethod
    def rebind(
        self,
        authority_id: str,
        host_id: str,
        *,
        names: Sequence[str],
        addresses: Sequence[str],
        event: Event,
    ) -> Host:
        """Give a host what the inventory says it is called now, within the same epoch (S8).

        Its certificates that name more are revoked in the same commit, and renewal is due when
        what it is called has changed. No change, no event. Raises `NotFound`, or `Taken` when
        another live host holds one of the names or addresses.
        """

    @abstractmethod
    def renewed(
        self, authority_id: str, host_id: str, *, principals: Sequence[str], event: Event
    ) -> None:
        """Note that a host got certificates for these principals.

        Renewal is due no more, if it is still called so. Raises `NotFound`.
        """

    @abstractmethod
    def refused(self, authority_id: str, host_id: str, event: Event) -> None:
        """Note on the host that a second key was refused."""

    @abstractmethod
    def delete(self, authority_id: str, host_id: str, event: Event) -> None:
        """End a host.

        Its names are free again, and a cut-off on it is committed. Raises `NotFound`.
        """


@dataclass(frozen=True, kw_only=True)
class HostReceipt:
    """A host that people may get into, and the receipt that it gave since it enrolled, if any.

    `not_enrolled_since` is when it was admitted again, unless it enrolled since then.
    """

    host: str
    receipt: Receipt | None
    not_enrolled_since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Lag:
    """How many hosts are enrolled, how many of them have not shown to obey the newest KRL.

    `oldest` is when the host that is silent for longest gave its receipt.
    """

    hosts: int
    behind: int
    oldest: datetime | None


@dataclass(frozen=True, kw_only=True)
class Nonce:
    """What a signed request says once (S12), and until when that must be remembered."""

    text: str
    until: datetime


class Receipts(Protocol):
    """The latest receipt of each host. Whoever enrols anew has given none yet."""

    @abstractmethod
    def put(self, receipt: Receipt, proof: str, nonce: Nonce) -> None:
        """Keep a receipt in place of the last one, with the signed request that proves it.

        Uses that request's nonce in the same commit: raises `Conflict` when it was used, and
        `NotFound` when the host is deleted meanwhile; then nothing is kept.
        """

    @abstractmethod
    def get(self, authority_id: str, host_id: str) -> tuple[Receipt, str]:
        """Return a host's receipt and its proof. Raises `NotFound`."""

    @abstractmethod
    def list(
        self, authority_id: str, *, now: datetime, at_least: int, limit: int, marker: str | None
    ) -> Page[HostReceipt]:
        """Return the hosts that are enrolled, or admitted again and have live certificates.

        First come those without this KRL version or a later one; the latter have none.
        """

    @abstractmethod
    def count(self, authority_id: str, *, now: datetime, at_least: int) -> tuple[int, int]:
        """Return how many such hosts there are, and how many have that version or a later one."""

    @abstractmethod
    def lag(self) -> Lag:
        """Return how far all hosts are, of all authorities that are not retired."""


class Reports(Protocol):
    """The latest report of each host. Whoever enrols anew has given none yet."""

    @abstractmethod
    def put(self, report: Report) -> None:
        """Keep a report in place of the last one. Raises `NotFound` as `Receipts.put`."""

    @abstractmethod
    def get(self, authority_id: str, host_id: str) -> Report:
        """Raise `NotFound` when there is none."""


class Nonces(Protocol):
    """What signed requests say once (S12)."""

    @abstractmethod
    def used(self, nonce: Nonce) -> bool:
        """Whether a nonce was used. Cheap; `use` alone is sure."""

    @abstractmethod
    def use(self, nonce: Nonce) -> None:
        """Use a nonce. Raises `Conflict` when it was used."""

    @abstractmethod
    def expire(self, now: datetime) -> int:
        """Forget the nonces whose time has passed; return how many."""
