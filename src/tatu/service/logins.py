"""Login reports: kept, and compared with what was issued (security.md S19).

They are claims of their host, confined to its project, and never a reason to revoke.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tatu.core import canonical
from tatu.core.audit import Event
from tatu.core.claims import ADMITTED, Login, LoginKind
from tatu.core.host import Host
from tatu.ports import Clock, Ledger, LedgerLogin
from tatu.service.audit import host_event, is_one_of_some
from tatu.service.joining import BREAK_GLASS, Joining

REVOKED = "revoked before"


@dataclass(frozen=True, kw_only=True)
class Logins:
    """Takes what hosts tell of logins."""

    ledger: Ledger
    joining: Joining
    clock: Clock

    def take(self, host: Host, told: Sequence[Login], *, lost: int, request_id: str) -> int:
        """Keep logins; return how many the host had not told before.

        Whoever was let in by a certificate that is not one of ours as the host names it, or that
        had been revoked by then, is an alarm: on the login always, and ten a minute of each host
        in the audit chain too. `lost` is how many events the host could not keep.
        """
        now = self.clock()
        if lost:
            told = (*told, _gap(told, lost, now))
        joined = [self._joined(host, login, now) for login in told]
        alarms = {}
        for one in joined:
            if one.alarm:
                alarm = _alarm(one, host, request_id)
                if is_one_of_some(self.ledger, alarm, host.authority, host.id):
                    alarms[one.login.id] = alarm
        return len(self.ledger.logins.append(joined, alarms))

    def _joined(self, host: Host, login: Login, now: datetime) -> LedgerLogin:
        subject = user_name = alarm = ""
        if login.certificate is not None:
            found = self.joining.join(host.authority, login.certificate)
            alarm = found.mismatch
            if (known := found.certificate) is not None:
                subject, user_name = known.subject, known.user_name
                if known.revoked_at is not None and known.revoked_at <= login.at:
                    alarm = REVOKED
        return LedgerLogin(
            authority=host.authority,
            host=host.id,
            received_at=now,
            login=login,
            subject=subject,
            user_name=user_name,
            alarm=alarm if login.kind in ADMITTED else "",
        )


def _gap(told: Sequence[Login], lost: int, now: datetime) -> Login:
    """Return what stands for events that were lost: the same when the same batch is repeated."""
    batch = canonical.data([lost, *(login.id for login in told)] if told else [lost, str(now)])
    return Login(
        id=f"lost-{hashlib.sha256(batch).hexdigest()[:32]}",
        at=now,
        kind=LoginKind.LOST,
        account="",
        detail=f"{lost} events",
    )


def _alarm(told: LedgerLogin, host: Host, request_id: str) -> Event:
    login, certificate = told.login, told.login.certificate
    return host_event(
        "login.break-glass" if told.alarm == BREAK_GLASS else "login.mismatch",
        host.authority,
        host.id,
        at=told.received_at,
        request_id=request_id,
        why=told.alarm,
        login={
            "at": login.at.isoformat(),
            "kind": str(login.kind),
            "account": login.account,
            "source": login.source,
            **({} if certificate is None else vars(certificate)),
        },
    )
