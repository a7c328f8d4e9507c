"""Thousands of projects, users and certificates, put straight into Keystone and the ledger.

By their APIs they would take an hour; what is measured asks for them as for any others.
"""

import sqlite3
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from tests.lab.openstack.lab import Lab

from bench.cloud import ROLE, CloudTatu
from tatu.core.audit import SYSTEM
from tatu.core.authority import Purpose
from tatu.store.database import make_engine
from tatu.store.tables import authorities, authority_keys, certificates

_DOMAIN = "default"
_BUSY = 60.0  # seconds that Keystone may keep its database for itself

Members = Mapping[str, Sequence[str]]
"""Users by project."""


def people(lab: Lab, *, projects: int, users: int) -> Members:
    """Put projects into Keystone, each with that many users of its own who are members."""
    made = {_id(): [_id() for _ in range(users)] for _ in range(projects)}
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    with closing(_keystone(lab)) as keystone, keystone:
        (role,) = keystone.execute("SELECT id FROM role WHERE name = ?", (ROLE,)).fetchone()
        keystone.executemany(
            "INSERT INTO project (id, name, extra, description, enabled, domain_id, parent_id,"
            " is_domain) VALUES (?, ?, '{}', '', 1, ?, ?, 0)",
            [(project, f"crowd-{project}", _DOMAIN, _DOMAIN) for project in made],
        )
        everybody = [user for some in made.values() for user in some]
        keystone.executemany(
            "INSERT INTO user (id, extra, enabled, created_at, domain_id)"
            " VALUES (?, '{}', 1, ?, ?)",
            [(user, now, _DOMAIN) for user in everybody],
        )
        keystone.executemany(
            "INSERT INTO local_user (user_id, domain_id, name) VALUES (?, ?, ?)",
            [(user, _DOMAIN, f"crowd-{user}") for user in everybody],
        )
        keystone.executemany(
            "INSERT INTO assignment (type, actor_id, target_id, role_id, inherited)"
            " VALUES ('UserProject', ?, ?, ?, 0)",
            [(user, project, role) for project, some in made.items() for user in some],
        )
    return made


def certify(tatu: CloudTatu, members: Members, *, each: int) -> Mapping[str, Sequence[int]]:
    """Give every project an authority, and every user that many live certificates.

    All are copies of one that was issued; nothing else may have the ledger open. Returns their
    serials by user.
    """
    serials: defaultdict[str, list[int]] = defaultdict(list)
    with tatu.serving():
        caller = tatu.caller()
        tatu.ask("POST", caller.certificates, caller.bodies(1)[0], caller.token)
    with tatu.opened() as application:
        making = replace(application.authorities, statements=_Later())  # type: ignore[arg-type]
        for project in members:
            making.create(SYSTEM, project, project, request_id="")
    engine = make_engine(tatu.database, pool_size=1)
    try:
        with engine.begin() as ledger:
            copied = dict(ledger.execute(select(certificates)).mappings().one())
            place = ledger.scalar(select(func.max(certificates.c.sequence))) or 0
            keys = dict(
                ledger.execute(
                    select(authority_keys.c.authority, authority_keys.c.fingerprint).where(
                        authority_keys.c.purpose == Purpose.USER
                    )
                ).all()
            )
            copied["valid_before"] = datetime.now(UTC) + timedelta(days=1)
            rows: list[dict[str, Any]] = []
            for project, users in members.items():
                for serial, user in enumerate([*users] * each, start=1):
                    serials[user].append(serial)
                    rows.append(
                        {
                            **copied,
                            "sequence": 10**9 + place + len(rows),
                            "authority": project,
                            "serial": serial,
                            "key_id": f"{user}_{serial}",
                            "signature_key": keys[project],
                            "subject": user,
                            "user_name": f"crowd-{user}",
                        }
                    )
            ledger.execute(insert(certificates), rows)
            ledger.execute(
                update(authorities)
                .where(authorities.c.id.in_(members))
                .values(next_serial=each * max(map(len, members.values())) + 1)
            )
    finally:
        engine.dispose()
    return serials


class _Later:
    """Builds no statement: each would ask Keystone for all roles, and nobody waits for it."""

    def publish(self, authority_id: str) -> None:
        """Leave it to whoever asks first."""


def _keystone(lab: Lab) -> sqlite3.Connection:
    return sqlite3.connect(lab.folder / "keystone/keystone.db", timeout=_BUSY)


def _id() -> str:
    return uuid.uuid4().hex
