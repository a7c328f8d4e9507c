"""Challenges, tokens, secrets, answers, nonces and limits: what is used once, or counted."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tatu.core.challenge import Challenge, SignInPurpose
from tatu.core.errors import Conflict, NotFound, TooMany, Unauthenticated
from tatu.ports import BearerToken, StoredAnswer, User, UserKey
from tests.contract.ledger.material import NOW, event, key, once

MINUTE = timedelta(minutes=1)


def challenge(name="c1"):
    return Challenge(
        id=name,
        deployment="https://tatu.example",
        user="álice ",
        project="blue",
        public_key=key("a").line,
        purpose=SignInPurpose.ADMINISTER,
        nonce="00" * 32,
        expires_at=NOW + MINUTE,
    )


def outcomes(job, times):
    """Run a job many times at once; return what each returned or raised."""

    def one(n):
        try:
            return job(n)
        except (Conflict, TooMany, Unauthenticated) as error:
            return type(error)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(one, range(times)))


def test_a_challenge_reads_as_it_was_and_once(ledger):
    ledger.sign_ins.put_challenge(challenge())
    assert challenge() == ledger.sign_ins.redeem_challenge("c1", NOW)
    with pytest.raises(Unauthenticated):
        ledger.sign_ins.redeem_challenge("c1", NOW)


def test_an_expired_challenge_is_used_up(ledger):
    ledger.sign_ins.put_challenge(challenge())
    for now in (NOW + MINUTE, NOW):
        with pytest.raises(Unauthenticated):
            ledger.sign_ins.redeem_challenge("c1", now)


def test_of_many_at_once_one_redeems(ledger, open_ledger):
    ledgers = [ledger, open_ledger()]
    ledger.sign_ins.put_challenge(challenge())
    found = outcomes(lambda n: ledgers[n % 2].sign_ins.redeem_challenge("c1", NOW), 16)
    assert found.count(challenge()) == 1
    assert found.count(Unauthenticated) == 15


def test_a_token_is_good_until_it_expires_or_ends(ledger):
    ledger.directory.create_user(User(id="u1", name="alice"), event())
    ledger.directory.add_key(UserKey(user="u1", public_key=key("a"), created_at=NOW), event())
    token = BearerToken(
        digest="d1",
        user="u1",
        project=None,
        key=key("a").fingerprint,
        fresh=True,
        created_at=NOW,
        expires_at=NOW + MINUTE,
    )
    ledger.sign_ins.put_token(token, event("token.made"))
    assert token == ledger.sign_ins.token("d1", NOW)
    for digest, now in (("d1", NOW + MINUTE), ("D1", NOW), ("d1 ", NOW)):
        with pytest.raises(Unauthenticated):
            ledger.sign_ins.token(digest, now)
    ledger.sign_ins.end_token("d1", event("token.ended"))
    head = ledger.audit.head()
    ledger.sign_ins.end_token("d1", event("token.ended"))
    assert head == ledger.audit.head()
    with pytest.raises(Unauthenticated):
        ledger.sign_ins.token("d1", NOW)


def test_what_ended_a_day_ago_is_removed(ledger):
    ledger.sign_ins.put_challenge(challenge())
    assert ledger.sign_ins.expire(NOW + timedelta(days=1)) == 0
    assert ledger.sign_ins.expire(NOW + timedelta(days=1, minutes=2)) == 1
    assert ledger.sign_ins.expire(NOW + timedelta(days=1, minutes=2)) == 0


def test_secrets_are_kept_replaced_and_forgotten(ledger):
    secrets, wrapped = ledger.secrets, bytes(range(256))
    secrets.put("name", wrapped)
    secrets.put("Name", b"other")
    assert wrapped == secrets.get("name")
    with pytest.raises(Conflict):
        secrets.put("name", b"again")
    with pytest.raises(Conflict):
        secrets.replace("name", b"new", old=b"not this")
    secrets.replace("name", b"new", old=wrapped)
    assert secrets.get("name") == b"new"
    assert secrets.names() == ("Name", "name")
    secrets.delete("name")
    secrets.delete("name")
    with pytest.raises(NotFound):
        secrets.get("name")


def test_of_many_at_once_one_replaces_a_secret(ledger):
    ledger.secrets.put("name", b"old")
    found = outcomes(lambda n: ledger.secrets.replace("name", b"%d" % n, old=b"old"), 8)
    assert found.count(None) == 1


def test_an_answer_is_given_again(ledger):
    answers, answer = (
        ledger.idempotency,
        StoredAnswer(status=201, body=b"{}", certificates=(("blue", 7),)),
    )
    assert answers.begin("key", "digest", NOW) is None
    with pytest.raises(Conflict):
        answers.begin("key", "digest", NOW + MINUTE)
    answers.finish("key", answer)
    assert answer == answers.begin("key", "digest", NOW + timedelta(hours=23))
    with pytest.raises(Conflict):
        answers.begin("key", "another", NOW)
    assert answers.begin("key", "another", NOW + timedelta(hours=25)) is None


def test_a_claim_ends_when_it_is_given_up_or_after_a_minute(ledger):
    answers = ledger.idempotency
    assert answers.begin("key", "digest", NOW) is None
    answers.abandon("key")
    assert answers.begin("key", "digest", NOW) is None
    assert answers.begin("key", "digest", NOW + MINUTE + timedelta(seconds=1)) is None


def test_an_answer_that_was_kept_is_not_given_up(ledger):
    ledger.idempotency.begin("key", "digest", NOW)
    ledger.idempotency.finish("key", StoredAnswer(status=201, body=b""))
    ledger.idempotency.abandon("key")
    assert StoredAnswer(status=201, body=b"") == ledger.idempotency.begin("key", "digest", NOW)


def test_of_many_at_once_one_claims(ledger, open_ledger):
    ledgers = [ledger, open_ledger()]
    found = outcomes(lambda n: ledgers[n % 2].idempotency.begin("key", "digest", NOW), 16)
    assert found.count(None) == 1
    assert found.count(Conflict) == 15


def test_a_nonce_is_used_once_until_its_time(ledger):
    nonces, until = ledger.nonces, NOW + MINUTE
    assert not nonces.used(once("n"))
    nonces.use(once("n", until=until))
    assert nonces.used(once("n"))
    assert not nonces.used(once("N"))
    with pytest.raises(Conflict):
        nonces.use(once("n", until=until))
    assert nonces.expire(until) == 0
    assert nonces.used(once("n"))
    assert nonces.expire(until + timedelta(microseconds=1)) == 1
    assert not nonces.used(once("n"))


def test_of_many_at_once_one_uses_a_nonce(ledger, open_ledger):
    ledgers = [ledger, open_ledger()]
    found = outcomes(lambda n: ledgers[n % 2].nonces.use(once("n")), 16)
    assert found.count(None) == 1
    assert found.count(Conflict) == 15


@pytest.mark.parametrize("limit", [1, 15, 16, 100])
def test_a_limit_is_the_sum_of_all_processes(ledger, open_ledger, limit):
    ledgers = [ledger, open_ledger()]
    taken, waits = 0, set()
    for n in range(2 * limit):
        try:
            ledgers[n % 2].limits.take("who", limit=limit, window=MINUTE, now=NOW)
            taken += 1
        except TooMany as error:
            waits.add(error.retry_after)
    assert limit - limit // 16 <= taken <= limit
    assert waits == {53}  # the window is a minute of the clock, and it is 05:06:07
    ledger.limits.take("who else", limit=limit, window=MINUTE, now=NOW)
    ledger.limits.take("who", limit=limit, window=MINUTE, now=NOW + MINUTE)


def test_a_limit_holds_at_once(ledger, open_ledger):
    ledgers = [ledger, open_ledger()]
    found = outcomes(
        lambda n: ledgers[n % 2].limits.take("who", limit=8, window=MINUTE, now=NOW), 16
    )
    assert found.count(None) == 8


def test_processes_that_are_killed_take_little_of_a_large_limit_with_them(open_ledger):
    for _ in range(20):  # each had leased some of it
        open_ledger().limits.take("large", limit=10_000, window=timedelta(minutes=1), now=NOW)
