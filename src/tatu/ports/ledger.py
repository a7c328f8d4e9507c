"""The ledger: one thing in several parts."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

from tatu.core.audit import Event, Link
from tatu.core.keys import PublicKey
from tatu.ports.audit import Audit
from tatu.ports.authorities import Authorities
from tatu.ports.certificates import Certificates
from tatu.ports.directory import Directory
from tatu.ports.hosts import Hosts, Nonces, Receipts, Reports
from tatu.ports.leases import Leases
from tatu.ports.logins import Logins
from tatu.ports.publications import Publications
from tatu.ports.requests import Idempotency, Limits
from tatu.ports.revocations import CutOffs, Holds, Revocations
from tatu.ports.secrets import Secrets
from tatu.ports.sign_ins import SignIns


class Ledger(Protocol):
    """The parts together, and what is true of the whole."""

    authorities: Authorities
    certificates: Certificates
    revocations: Revocations
    cut_offs: CutOffs
    publications: Publications
    hosts: Hosts
    receipts: Receipts
    reports: Reports
    logins: Logins
    holds: Holds
    leases: Leases
    directory: Directory
    sign_ins: SignIns
    secrets: Secrets
    audit: Audit
    idempotency: Idempotency
    limits: Limits
    nonces: Nonces

    @abstractmethod
    def deployment(self) -> str:
        """Return the deployment's id: made once, with the first migration."""

    @abstractmethod
    def purposes_of(self, key: PublicKey, *, unproven_in: str = "") -> frozenset[str]:
        """Return what a key is already (S1), by one indexed read.

        `authority` (any key of any authority), `sign-in` (a user's in the directory), `host`
        (certified as a host's), `user` (certified as a user's subject key). Certificates for
        which nobody proved to hold the key count in the authority `unproven_in` alone.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise `Unavailable` with what is wrong.

        No answer, wrong revision, not writable, rolled back.
        """

    @abstractmethod
    def restored(self, links: Iterator[Link]) -> None:
        """After a restore.

        Skip serials and versions past the high-water marks, re-import revocations (S3).
        """

    @abstractmethod
    def prune(
        self, before: datetime, event: Event, *, certificates: bool, dry_run: bool
    ) -> Mapping[str, int]:
        """Remove what ended before a time; return how many rows of each kind.

        Superseded publications with their KRLs, swept cut-offs and cleared blocks; certificates
        that had expired, revoked or not, only when asked for. Never an event. With `dry_run` they
        are only counted. Raises `Malformed` for a time within `authority.SKEW` (S18).
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what is being committed, then let go of the database."""
