"""Who waits for news is told of it once, in bounded time and memory, and causes little."""

import asyncio
import threading
import time

import pytest

from tatu import feed as feed_module
from tatu.core.errors import Unavailable
from tatu.feed import Feed, Full
from tatu.ports import NewestVersion

SOON = 5.0


class Ledger:
    """Authorities as the feed sees them; building takes up what was revoked."""

    def __init__(self):
        self.authorities = {"blue": NewestVersion(version=7, published=3, revision=3)}
        self.asked = []
        self.built = []
        self.failing = None
        self.unbuildable = None
        self.gate = threading.Event()
        self.gate.set()

    def versions(self, authorities):
        if self.failing:
            raise self.failing
        self.asked.append(tuple(authorities))
        return {name: self.authorities[name] for name in authorities if name in self.authorities}

    def publish(self, authority, *, version, revision=None):
        now = self.authorities[authority].revision if revision is None else revision
        self.authorities[authority] = NewestVersion(version=version, published=now, revision=now)

    def revoke(self, authority="blue"):
        old = self.authorities[authority]
        self.authorities[authority] = NewestVersion(
            version=old.version, published=old.published, revision=old.revision + 1
        )

    def build(self, authority, version):
        assert version == self.authorities[authority].version
        self.built.append(authority)
        self.gate.wait(SOON)
        if isinstance(self.unbuildable, Exception):
            raise self.unbuildable
        if not self.unbuildable:
            self.publish(authority, version=version + 1)


@pytest.fixture
def ledger():
    return Ledger()


def run(ledger, story, *, most=100, per_second=100, ticks=time.monotonic):
    """Tell a story over a feed that follows the ledger."""

    async def told():
        feed = Feed(
            versions=ledger.versions,
            build=ledger.build,
            most=most,
            per_second=per_second,
            pause=0.01,
            ticks=ticks,
        )
        following = asyncio.create_task(feed.follow())
        try:
            return await asyncio.wait_for(story(feed), 4 * SOON)
        finally:
            following.cancel()

    return asyncio.run(told())


async def until(holds):
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_who_is_behind_is_told_at_once_and_who_is_not_waits(ledger):
    async def story(feed):
        return await feed.newer("blue", 6, SOON), await feed.newer("blue", 7, 0.05)

    assert run(ledger, story) == (7, None)


def test_a_revocation_is_built_once_and_told_to_all_who_wait(ledger):
    ledger.gate.clear()

    async def story(feed):
        waiting = [asyncio.create_task(feed.newer("blue", 7, SOON)) for _ in range(50)]
        await until(lambda: feed.waiting == 50)
        ledger.revoke()
        await until(lambda: ledger.built)
        looks = len(ledger.asked)
        await until(lambda: len(ledger.asked) > looks + 1)
        ledger.gate.set()
        return await asyncio.gather(*waiting)

    assert run(ledger, story) == [8] * 50
    assert ledger.built == ["blue"]


def test_a_large_fleet_is_told_in_turn_and_nobody_is_left_out(ledger, monkeypatch):
    told_after = []

    async def story(feed):
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(seconds, call, *given, **more):
            if call is feed_module._set:
                told_after.append(seconds)
                seconds = 0
            return later(seconds, call, *given, **more)

        monkeypatch.setattr(loop, "call_later", call_later)
        waiting = [asyncio.create_task(feed.newer("blue", 7, SOON)) for _ in range(60)]
        await until(lambda: feed.waiting == 60)
        ledger.publish("blue", version=8, revision=4)
        return await asyncio.gather(*waiting)

    assert run(ledger, story, per_second=20) == [8] * 60
    assert [sum(each <= second for each in told_after) for second in (0, 1, 2)] == [21, 41, 60]


def test_a_statement_that_was_only_signed_anew_wakes_nobody_but_is_told_to_who_comes(ledger):
    async def story(feed):
        waiting = asyncio.create_task(feed.newer("blue", 7, 0.3))
        await until(lambda: len(ledger.asked) > 1)
        ledger.publish("blue", version=8)
        await until(lambda: feed._watched["blue"].known.version == 8)
        come = await feed.newer("blue", 7, SOON)
        return come, await waiting

    assert run(ledger, story) == (8, None)


def test_an_authority_that_there_is_not_is_answered_like_an_idle_one(ledger):
    async def story(feed):
        both = (feed.newer("blue", 7, 0.05), feed.newer("absent", 7, 0.05))
        answers = await asyncio.gather(*both)
        assert feed._watched == {}
        return answers

    assert run(ledger, story) == [None, None]
    assert all({"blue", "absent"} == set(asked) for asked in ledger.asked)
    assert ledger.built == []


def test_one_look_serves_all_authorities_and_none_is_taken_for_nobody(ledger):
    async def story(feed):
        await asyncio.gather(*(feed.newer(f"x{number}", 0, 0.05) for number in range(20)))
        await until(lambda: not feed._look.is_set())  # and with it all looking ends
        return len(ledger.asked)

    assert run(ledger, story) <= 7


def test_more_than_there_is_room_for_are_turned_away(ledger):
    async def story(feed):
        waiting = asyncio.create_task(feed.newer("blue", 7, 0.1))
        await until(lambda: feed.waiting == 1)
        with pytest.raises(Full):
            await feed.newer("blue", 7, SOON)
        assert await waiting is None
        return await feed.newer("blue", 6, SOON)

    assert run(ledger, story, most=1) == 7


def test_an_outage_of_the_ledger_is_waited_out(ledger):
    async def story(feed):
        ledger.failing = Unavailable("away")
        waiting = asyncio.create_task(feed.newer("blue", 6, SOON))
        await until(lambda: feed.failing)
        ledger.failing = None
        version = await waiting
        return version, feed.failing

    assert run(ledger, story) == (7, False)


def test_a_mistake_in_one_look_is_not_the_end_of_all(ledger):
    async def story(feed):
        ledger.failing = ValueError("a mistake")
        waiting = asyncio.create_task(feed.newer("blue", 6, SOON))
        await until(lambda: feed.failing)
        ledger.failing = None
        return await waiting

    assert run(ledger, story) == 7


@pytest.mark.parametrize(
    "why",
    [Unavailable("the API is away"), ValueError("a mistake"), "somebody's cache answered"],
    ids=["away", "a mistake", "in vain"],
)
def test_what_is_not_built_is_tried_again_after_a_rest(ledger, why):
    now = [0.0]
    ledger.unbuildable = why
    ledger.revoke()

    async def story(feed):
        waiting = asyncio.create_task(feed.newer("blue", 7, SOON))
        await until(lambda: ledger.built)
        looks = len(ledger.asked)
        await until(lambda: len(ledger.asked) > looks + 2)
        assert ledger.built == ["blue"]
        ledger.unbuildable = None
        now[0] = 1.0
        return await waiting

    assert run(ledger, story, ticks=lambda: now[0]) == 8
    assert ledger.built == ["blue", "blue"]


def test_rests_grow_until_something_is_built(ledger):
    now = [0.0]
    ledger.unbuildable = Unavailable("the API is away")
    ledger.revoke()

    async def story(feed):
        waiting = asyncio.create_task(feed.newer("blue", 8, SOON))
        await until(lambda: "blue" in feed._watched)
        watched = feed._watched["blue"]
        for rest in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 32.0, 32.0):
            await until(lambda rest=rest: watched.again == now[0] + rest and not watched.building)
            now[0] = watched.again
        ledger.unbuildable = None
        await until(lambda: watched.rest == 0.0)
        ledger.revoke()
        return await waiting

    assert run(ledger, story, ticks=lambda: now[0]) == 9
