"""User certificates that say the same: of what is not proven one at a time is enough.

Who asks twice at once for the same, as the original's wire lets them, gets one.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from tatu.core.certificate import CertificateType
from tatu.store.tables import certificates


class Same(NamedTuple):
    """All by which two user certificates are told apart, but for serials and times."""

    authority: str
    subject: str
    subject_key: str
    signature_key: str
    principals: str
    origin: str


_NOW = bindparam("now", type_=certificates.c.valid_before.type)
_SERIAL = (
    select(certificates.c.serial)
    .where(
        *(
            func.coalesce(certificates.c[name], "") == bindparam(name)
            if certificates.c[name].nullable
            else certificates.c[name] == bindparam(name)
            for name in Same._fields
        ),
        certificates.c.type == int(CertificateType.USER),
        certificates.c.valid_after <= _NOW,
        certificates.c.valid_before > _NOW,
        certificates.c.revoked_at.is_(None),
    )
    .order_by(certificates.c.sequence.desc())
    .limit(1)
)


def serial_of(connection: Connection, same: Same, now: datetime) -> int | None:
    """Return the serial of the newest live certificate that says the same.

    Asked with the head of the chain held, so that no other is recorded before the commit.
    """
    found = connection.scalar(_SERIAL, {**same._asdict(), "now": now})
    return None if found is None else int(found)
