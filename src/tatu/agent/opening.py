"""Which certificate opens which account by a statement (security.md S13, S16, S20).

Sessions are ended by it, and sudo is refused; of times, and of what is revoked, each knows itself.
"""

from __future__ import annotations

from tatu.agent.keys import UserCertificate
from tatu.agent.statement import Statement


def objection(certificate: UserCertificate, account: str, newest: Statement) -> str | None:
    """Return why a certificate would not open an account now, or None."""
    if is_break_glass(certificate, account, newest):
        return None
    principals = newest.accounts.get(account, ())
    for why, holds in (
        ("its account is closed", not principals),
        (
            "who signed its certificate is no longer trusted",
            certificate.signature_key not in newest.user_authorities,
        ),
        (
            "its certificate no longer opens this account",
            set(principals).isdisjoint(certificate.principals),
        ),
    ):
        if holds:
            return why
    return None


def is_break_glass(certificate: UserCertificate, account: str, newest: Statement) -> bool:
    """Say whether an offline key signed a certificate, and this is the account for such."""
    offline = newest.break_glass
    return (
        offline is not None
        and account == offline.account
        and certificate.signature_key in offline.authorities
    )
