"""What keys are already: no key serves two purposes (security.md S1)."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, exists, select, union_all

from tatu.core.certificate import CertificateType
from tatu.store.columns import FINGERPRINT
from tatu.store.tables import authority_keys, certificates, user_keys

_KEY = bindparam("key", type_=FINGERPRINT)
_CERTIFIED = {
    str(kind.name.lower()): exists().where(
        certificates.c.subject_key == _KEY, certificates.c.type == int(kind)
    )
    for kind in CertificateType
}
# written once: putting it together takes longer than the database does to answer it
_PURPOSES = select(
    exists().where(authority_keys.c.fingerprint == _KEY).label("authority"),
    exists().where(user_keys.c.fingerprint == _KEY).label("sign-in"),
    *(found.label(name) for name, found in _CERTIFIED.items()),
)


def of(connection: Connection, fingerprint: str) -> frozenset[str]:
    """Return what a key is, as `Ledger.purposes_of` names it."""
    row = connection.execute(_PURPOSES, {"key": fingerprint}).mappings().one()
    return frozenset(name for name, holds in row.items() if holds)


class Certified(NamedTuple):
    """A key that is to be certified, and for whom: `host` is empty for a user's."""

    key: str
    authority: str
    host: str


def _among(name: str) -> Any:
    return bindparam(name, type_=FINGERPRINT, expanding=True)


_TAKEN = union_all(
    select(authority_keys.c.fingerprint).where(authority_keys.c.fingerprint.in_(_among("keys"))),
    select(user_keys.c.fingerprint).where(user_keys.c.fingerprint.in_(_among("keys"))),
    select(certificates.c.subject_key).where(
        certificates.c.subject_key.in_(_among("users")),
        certificates.c.type == int(CertificateType.HOST),
    ),
    select(certificates.c.subject_key).where(
        certificates.c.subject_key.in_(_among("hosts")),
        certificates.c.type == int(CertificateType.USER),
    ),
)
_HELD = select(certificates.c.subject_key, certificates.c.authority, certificates.c.host).where(
    certificates.c.subject_key.in_(_among("hosts")),
    certificates.c.type == int(CertificateType.HOST),
    certificates.c.revoked_at.is_(None),
    certificates.c.valid_before > bindparam("now", type_=certificates.c.valid_before.type),
)


def clashing(
    connection: Connection, wanted: Iterable[Certified], now: datetime
) -> Collection[Certified]:
    """Return those whose key is something else, or another host's; of two, the later one.

    Asked with the head of the chain held, so that nothing becomes so before the commit.
    """
    group = list(dict.fromkeys(wanted))
    users = [one.key for one in group if not one.host]
    hosts = [one.key for one in group if one.host]
    asked = {"keys": users + hosts, "users": users, "hosts": hosts}
    taken = set(connection.scalars(_TAKEN, asked))
    holders: dict[str, Certified] = {}
    if hosts:
        for row in connection.execute(_HELD, {"hosts": hosts, "now": now}):
            holders[row.subject_key] = Certified(row.subject_key, row.authority, row.host)
    clashes = set()
    for one in group:
        holder = holders.setdefault(one.key, one)
        same = not (one.host or holder.host) or one == holder
        if one.key in taken or not same:
            clashes.add(one)
    return clashes
