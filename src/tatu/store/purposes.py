"""What keys are already: no key serves two purposes (security.md S1).

Who certifies a key without a proof may not hold it, and must keep nobody from it: that counts
only in the same authority, and only for those who prove nothing either.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, exists, or_, select, union_all

from tatu.core.certificate import CertificateType
from tatu.store.columns import FINGERPRINT
from tatu.store.tables import authority_keys, certificates, user_keys

_KEY = bindparam("key", type_=FINGERPRINT)
_COUNTS = or_(certificates.c.proven, certificates.c.authority == bindparam("authority"))
_CERTIFIED = {
    str(kind.name.lower()): exists().where(
        certificates.c.subject_key == _KEY, certificates.c.type == int(kind), _COUNTS
    )
    for kind in CertificateType
}
# written once: putting it together takes longer than the database does to answer it
_PURPOSES = select(
    exists().where(authority_keys.c.fingerprint == _KEY).label("authority"),
    exists().where(user_keys.c.fingerprint == _KEY).label("sign-in"),
    *(found.label(name) for name, found in _CERTIFIED.items()),
)


def of(connection: Connection, fingerprint: str, *, unproven_in: str = "") -> frozenset[str]:
    """Return what a key is, as `Ledger.purposes_of` names it."""
    asked = {"key": fingerprint, "authority": unproven_in}
    row = connection.execute(_PURPOSES, asked).mappings().one()
    return frozenset(name for name, holds in row.items() if holds)


class Certified(NamedTuple):
    """A key that is to be certified, and for whom: `host` is empty for a user's."""

    key: str
    authority: str
    host: str
    proven: bool

    def clashes(self, other: "Certified") -> bool:
        """Tell whether another, who was first, keeps the key from this one."""
        if not (other.proven or self.unproven_beside(other.authority)):
            return False
        mine, theirs = ((one.authority, one.host) for one in (self, other))
        return bool(self.host or other.host) and mine != theirs

    def unproven_beside(self, authority: str) -> bool:
        """Tell whether this is held up by what is not proven in an authority, too."""
        return not self.proven and self.authority == authority


def _among(name: str) -> Any:
    return bindparam(name, type_=FINGERPRINT, expanding=True)


_OURS = union_all(
    select(authority_keys.c.fingerprint).where(authority_keys.c.fingerprint.in_(_among("keys"))),
    select(user_keys.c.fingerprint).where(user_keys.c.fingerprint.in_(_among("keys"))),
)
_CLAIM = certificates.c.subject_key, certificates.c.authority, certificates.c.proven
_OTHERWISE = union_all(
    select(*_CLAIM).where(
        certificates.c.subject_key.in_(_among("users")),
        certificates.c.type == int(CertificateType.HOST),
    ),
    select(*_CLAIM).where(
        certificates.c.subject_key.in_(_among("hosts")),
        certificates.c.type == int(CertificateType.USER),
    ),
)
_HELD = select(*_CLAIM, certificates.c.host).where(
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
    ours = set(connection.scalars(_OURS, {"keys": users + hosts}))
    otherwise = defaultdict(set)
    for row in connection.execute(_OTHERWISE, {"users": users, "hosts": hosts}):
        otherwise[row.subject_key].add((row.authority, row.proven))
    holders: defaultdict[str, list[Certified]] = defaultdict(list)
    if hosts:
        for row in connection.execute(_HELD, {"hosts": hosts, "now": now}):
            held = Certified(row.subject_key, row.authority, row.host, row.proven)
            holders[held.key].append(held)
    clashes = set()
    for one in group:
        if (
            one.key in ours
            or any(
                proven or one.unproven_beside(authority)
                for authority, proven in otherwise[one.key]
            )
            or any(one.clashes(holder) for holder in holders[one.key])
        ):
            clashes.add(one)
        else:
            holders[one.key].append(one)
    return clashes
