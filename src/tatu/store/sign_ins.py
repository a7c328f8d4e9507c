"""Challenges and bearer tokens."""

from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from tatu.core.audit import Event
from tatu.core.challenge import Challenge, SignInPurpose
from tatu.core.errors import Unauthenticated
from tatu.ports import BearerToken, SignIns
from tatu.store.database import Change, Database
from tatu.store.tables import challenges, idempotency, limits, tokens, user_keys, users

KEPT = timedelta(days=1)


class SqlSignIns(SignIns):
    """Remembers who may prove what, and who has proven it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put_challenge(self, challenge: Challenge) -> None:
        """Remember a challenge."""
        values = {**asdict(challenge), "purpose": str(challenge.purpose)}
        statement = insert(challenges).values(values)
        self._database.write(lambda connection: connection.execute(statement))

    def redeem_challenge(self, challenge_id: str, now: datetime) -> Challenge:
        """Return a challenge once: of many who come at a time, one deletes the row."""
        statement = delete(challenges).where(challenges.c.id == challenge_id).returning(challenges)
        row = self._database.write(lambda connection: connection.execute(statement).one_or_none())
        if row is None or now >= row.expires_at:
            raise Unauthenticated("the challenge is unknown, used or expired")
        return Challenge(**{**row._asdict(), "purpose": SignInPurpose(row.purpose)})

    def put_token(self, token: BearerToken, event: Event) -> None:
        """Remember a token, unless its user or key was taken away meanwhile."""

        def work(change: Change) -> None:
            holder = (
                select(users.c.id)
                .join(user_keys, user_keys.c.user == users.c.id)
                .where(
                    users.c.id == token.user,
                    users.c.enabled,
                    user_keys.c.fingerprint == token.key,
                )
            )
            if change.connection.scalar(holder) is None:
                raise Unauthenticated("the sign-in is refused")
            change.connection.execute(insert(tokens).values(asdict(token)))
            change.append(event)

        self._database.change(work)

    def token(self, digest: str, now: datetime) -> BearerToken:
        """Return a token that is good at this moment."""
        with self._database.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.digest == digest)).one_or_none()
        if row is None or now >= row.expires_at:
            raise Unauthenticated("the token is unknown, ended or expired")
        return BearerToken(**row._asdict())

    def end_token(self, digest: str, event: Event) -> None:
        """End a token."""

        def work(change: Change) -> None:
            if change.connection.execute(delete(tokens).where(tokens.c.digest == digest)).rowcount:
                change.append(event)

        self._database.change(work)

    def expire(self, now: datetime) -> int:
        """Remove what ended a day ago, and with it answers and counts of that age."""

        def work(connection: Connection) -> int:
            ended = sum(
                connection.execute(delete(table).where(table.c.expires_at < now - KEPT)).rowcount
                for table in (challenges, tokens)
            )
            connection.execute(delete(idempotency).where(idempotency.c.claimed_at < now - KEPT))
            connection.execute(delete(limits).where(limits.c.ends_at < now - KEPT))
            return ended

        return self._database.write(work)
