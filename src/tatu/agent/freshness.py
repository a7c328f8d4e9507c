"""How fresh the newest statement is, and whom it lets in by that (security.md S2, S18, S20)."""

from __future__ import annotations

from datetime import datetime, timedelta

from tatu.agent.statement import REFUSE_NEW_LOGINS, Statement

CLOCK_TOLERANCE = timedelta(seconds=60)


def staleness(newest: Statement, now: datetime) -> str | None:
    """Return why the newest statement is too old to let anybody in by, or None.

    Its age counts from when it was issued, not from the last answer: whoever is on the way can
    repeat one for ever. A clock before that time has been set back, and would hide any age.
    """
    if now < newest.issued - CLOCK_TOLERANCE:
        return f"the clock is before {newest.issued:%Y-%m-%dT%H:%M:%SZ}, which has been"
    age = now - newest.issued
    if age > newest.max_age:
        return f"the newest statement is {int(age.total_seconds())} seconds old"
    return None


def refusing(newest: Statement, now: datetime) -> bool:
    """Say whether new logins by roles are refused until the next fresh statement."""
    return newest.freshness_policy == REFUSE_NEW_LOGINS and staleness(newest, now) is not None


def principals(newest: Statement, now: datetime) -> dict[str, tuple[str, ...]]:
    """Return the principals that open each role's account now; none: nobody gets in.

    The break-glass account is open whatever the age, in a place of its own.
    """
    if refusing(newest, now):
        return dict.fromkeys(newest.accounts, ())
    return newest.accounts


def notice(newest: Statement) -> bytes:
    """Return what they read who try to log in while new logins are refused.

    It is the same at each run, as an age would not be: the file is written once.
    """
    return (
        f"Tatu has told this host nothing since {newest.issued:%Y-%m-%d %H:%M} UTC.\n"
        "Until it does, new logins are refused but for break-glass.\n"
    ).encode()
