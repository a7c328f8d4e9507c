"""The revocation list: 100,000 revoked among 1,000,000 serials, in a real ledger."""

import random
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.report import Context, Row, timed
from bench.tatu import Tatu
from tatu.core.krl import Krl, Serials, encode
from tatu.ports import RevocationFacts
from tatu.store.ledger import SqlLedger

SERIALS = 1_000_000
REVOKED = 100_000
_KB = 1000


def measure(context: Context) -> Iterator[Row]:
    """Fill a ledger, read what its KRL must say, encode it, and let ssh-keygen read it."""
    folder = context.folder / "krl"
    tatu = Tatu(folder=folder, database=f"sqlite:///{folder}/tatu.db")
    tatu.prepare()
    with tatu.serving():
        caller = tatu.caller()
        tatu.ask("POST", caller.certificates, caller.bodies(1)[0], caller.token)
    context.say(f"krl: filling a ledger with {SERIALS:,} certificates")
    wanted = _fill(folder / "tatu.db")
    now = datetime.now(UTC)
    ledger = SqlLedger.open(tatu.database, state_dir=None, clock=lambda: now)
    try:
        found: list[RevocationFacts] = []
        read = timed(
            lambda: found.append(ledger.revocations.facts(caller.authority, now)), context.runs
        )
    finally:
        ledger.close()
    written: list[bytes] = []
    encoded = timed(lambda: written.append(_encoded(found[0], now)), context.runs)
    built = [1000 * (one + other) for one, other in zip(read, encoded, strict=True)]
    list_file = folder / "krl.bin"
    list_file.write_bytes(written[0])
    yield Row(
        section="KRL",
        name=f"size, {REVOKED:,} revoked of {SERIALS:,} serials",
        unit="KB",
        runs=[len(written[0]) / _KB],
        goal=130,
    )
    facts, bytes_ = (1000 * sorted(taken)[len(taken) // 2] for taken in (read, encoded))
    yield Row(
        section="KRL",
        name="build: read the facts and encode",
        unit="ms",
        runs=built,
        goal=100,
        note=f"facts {facts:.0f} ms, encoding {bytes_:.0f} ms; SQLite",
    )
    listed = told(list_file)
    yield Row(
        section="KRL",
        name="serials on which ssh-keygen and the ledger differ",
        unit="",
        runs=[len(listed ^ wanted)],
        goal=0,
        note=f"ssh-keygen -Q -l lists {len(listed):,}",
    )


def _encoded(facts: RevocationFacts, now: datetime) -> bytes:
    serials = {key: Serials.of(some) for key, some in facts.serials.items()}
    return encode(Krl(version=1, generated_at=now, comment="", serials=serials))


def _fill(database: Path) -> set[int]:
    """Multiply the one certificate in the ledger, and revoke a random tenth; return which."""
    revoked = random.Random(1).sample(range(2, SERIALS + 1), REVOKED)
    end = int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1_000_000)
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        names = [row[1] for row in connection.execute("PRAGMA table_info(certificates)")]
        own = {
            "serial": "n",
            "sequence": "1000000 + n",
            "key_id": "'admin_' || n",
            "valid_before": str(end),
            "revoked_at": "CASE WHEN r.serial IS NULL THEN NULL ELSE c.issued_at END",
            "revoked_reason": "CASE WHEN r.serial IS NULL THEN NULL ELSE 'lost' END",
            "revoked_by": "CASE WHEN r.serial IS NULL THEN NULL ELSE 'admin' END",
        }
        values = ", ".join(own.get(name, f'c."{name}"') for name in names)
        columns = ", ".join(f'"{name}"' for name in names)
        connection.execute("CREATE TEMP TABLE r (serial INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO r VALUES (?)", [(serial,) for serial in revoked])
        connection.execute(
            "WITH RECURSIVE counted(n) AS"
            f" (SELECT 2 UNION ALL SELECT n + 1 FROM counted WHERE n < {SERIALS})"
            f" INSERT INTO certificates ({columns}) SELECT {values} FROM counted"
            " CROSS JOIN (SELECT * FROM certificates WHERE serial = 1) c"
            " LEFT JOIN r ON r.serial = n"
        )
    connection.close()
    return set(revoked)


def told(list_file: Path) -> set[int]:
    """Return the serials that ssh-keygen reads in a list."""
    shown = subprocess.run(
        ["ssh-keygen", "-Q", "-l", "-f", str(list_file)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    listed: set[int] = set()
    for first, last in re.findall(r"^serial: (\d+)(?:-(\d+))?$", shown, re.MULTILINE):
        listed.update(range(int(first), int(last or first) + 1))
    return listed
