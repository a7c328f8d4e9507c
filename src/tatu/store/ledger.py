"""The ledger: its parts over one database."""

import fcntl
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Self

from sqlalchemy import select, update

from tatu.core.audit import Event, Link
from tatu.core.authority import SKEW
from tatu.core.errors import Conflict, Malformed, RolledBack, TatuError, Unavailable
from tatu.core.keys import PublicKey
from tatu.ports import Clock, Ledger
from tatu.store import purposes, restoring, retention, revision
from tatu.store.audit import SqlAudit
from tatu.store.auditcopy import AuditCopy, NoCopy
from tatu.store.authorities import Snapshots, SqlAuthorities
from tatu.store.certificates import SqlCertificates
from tatu.store.cut_offs import SqlCutOffs
from tatu.store.database import Database, make_engine, parse_url
from tatu.store.directory import SqlDirectory
from tatu.store.highwater import HighWater, NoHighWater
from tatu.store.holds import SqlHolds
from tatu.store.hosts import SqlHosts
from tatu.store.idempotency import SqlIdempotency
from tatu.store.leases import SqlLeases
from tatu.store.limits import SqlLimits
from tatu.store.logins import SqlLogins
from tatu.store.nonces import SqlNonces
from tatu.store.publications import SqlPublications
from tatu.store.receipts import SqlReceipts
from tatu.store.reports import SqlReports
from tatu.store.revocations import SqlRevocations
from tatu.store.secrets import SqlSecrets
from tatu.store.sign_ins import SqlSignIns
from tatu.store.tables import chain
from tatu.store.together import Together
from tatu.store.writer import GroupWriter


class SqlLedger(Ledger):
    """Gives core objects and takes them; rows and connections stay inside."""

    def __init__(
        self,
        database: Database,
        *,
        high_water: HighWater | NoHighWater,
        clock: Clock,
        lock: IO[bytes] | None = None,
    ) -> None:
        snapshots = Snapshots()
        self._database = database
        self._high_water = high_water
        self._clock = clock
        self._lock = lock
        self._writer = GroupWriter(database)
        self.authorities = SqlAuthorities(database, snapshots, high_water)
        self.certificates = SqlCertificates(database, self._writer, snapshots, high_water)
        self.revocations = SqlRevocations(database, snapshots)
        self.cut_offs = SqlCutOffs(database, snapshots)
        self.publications = SqlPublications(database, snapshots, high_water)
        self.hosts = SqlHosts(database, snapshots)
        together = Together(database)
        self.receipts = SqlReceipts(database, together)
        self.reports = SqlReports(database)
        self.logins = SqlLogins(database)
        self.holds = SqlHolds(database, snapshots)
        self.leases = SqlLeases(database)
        self.directory = SqlDirectory(database)
        self.sign_ins = SqlSignIns(database)
        self.secrets = SqlSecrets(database)
        self.audit = SqlAudit(database)
        self.idempotency = SqlIdempotency(database)
        self.limits = SqlLimits(together)
        self.nonces = SqlNonces(database, together)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        state_dir: Path | None,
        clock: Clock,
        exclusive: bool = False,
        pool_size: int = 16,
    ) -> Self:
        """Open the ledger in a database that `migrations.migrate` made.

        `state_dir` keeps the high-water marks and the audit copy (S3); without one, nothing tells
        that an old dump was restored. `exclusive` on SQLite raises `Conflict` when another
        process has it so.  A database that does not answer yet is no error here.
        """
        lock = _lock(url) if exclusive else None
        if state_dir is None:
            database = Database(make_engine(url, pool_size=pool_size), NoCopy())
            return cls(database, high_water=NoHighWater(), clock=clock, lock=lock)
        try:
            state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"the state directory cannot be made ({error.strerror})") from error
        copy = AuditCopy(state_dir / "audit.jsonl")
        database = Database(make_engine(url, pool_size=pool_size), copy)
        high_water = HighWater(state_dir / "highwater.json")
        ledger = cls(database, high_water=high_water, clock=clock, lock=lock)
        ledger._catch_up()
        return ledger

    def deployment(self) -> str:
        """Return the deployment's id."""
        with self._database.read() as connection:
            return str(connection.execute(select(chain.c.deployment)).scalar_one())

    def purposes_of(self, key: PublicKey, *, unproven_in: str = "") -> frozenset[str]:
        """Return what a key is already."""
        with self._database.read() as connection:
            return purposes.of(connection, key.fingerprint, unproven_in=unproven_in)

    def check(self) -> None:
        """Raise `Unavailable` with what is wrong."""
        current = revision.current(self._database.engine)
        if current != revision.NEWEST:
            raise Unavailable(
                f"the ledger's database is at revision {current}, not {revision.NEWEST}:"
                " run `tatu-manage db sync`"
            )
        self._database.copy.catch_up(self._database.links)
        restoring.check_marks(self._database, self._high_water.marks())
        # A server that only reads (a standby, a full or a frozen disk) refuses this. The audit
        # copy is compared while the head is held: else what others commit seems to be missing.
        self._database.change(
            lambda change: change.connection.execute(update(chain).values(mark=chain.c.mark))
        )

    def restored(self, links: Iterator[Link]) -> None:
        """Make a restored database fit to sign again; no other process may have it open."""
        restoring.restore(self._database, self._high_water.marks(), links, self._clock())
        try:
            self._database.copy.catch_up(self._database.links)
            self._database.copy.check(*self._database.head())
        except RolledBack:  # the database has gone on by itself after it was restored
            self._database.copy.start_again(self._database.links)

    def prune(
        self, before: datetime, event: Event, *, certificates: bool, dry_run: bool
    ) -> Mapping[str, int]:
        """Remove what ended before a time."""
        if before > self._clock() - SKEW:
            raise Malformed(
                f"what ended within {SKEW // timedelta(hours=1)} hours is still needed"
            )
        return retention.prune(
            self._database, before, event, expired=certificates, dry_run=dry_run
        )

    def close(self) -> None:
        """Commit what waits, then let go."""
        self._writer.close()
        self._database.engine.dispose()
        if self._lock is not None:
            self._lock.close()

    def _catch_up(self) -> None:
        """Copy what another run left uncopied.

        When that fails the ledger is open all the same: `check` says why it refuses to change, and
        `restored` may be what helps.
        """
        try:
            self._database.copy.catch_up(self._database.links)
        except TatuError:
            return


def _lock(url: str) -> IO[bytes] | None:
    """Take the lock that says which API process a SQLite database belongs to."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    try:
        file = Path(f"{parsed.database}.lock").open("ab")  # noqa: SIM115 (held until the ledger is closed)
    except OSError as error:
        raise Unavailable(f"the ledger's lock cannot be opened ({error.strerror})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Conflict("another tatu-api has this ledger open: SQLite has room for one") from error
    return file
