"""`usercert revoke --wait`: what it prints, and when it gives up."""

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from tatu.cli.waiting import Wait
from tatu.client.resources import HostReceipt, Receipts
from tatu.core.errors import Denied, Unavailable

HOSTS = [f"web-{number:03}" for number in range(1000)]


class FakeApi:
    """Hosts that refuse one after the other; `answers` is how many do at each question."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def receipts(self, authority, at_least, *, limit=1):
        self.asked.append((authority, at_least, limit))
        done = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(done, Exception):
            raise done
        late = [HostReceipt(host=host, done=False) for host in HOSTS[done:]]
        rest = [HostReceipt(host=host, done=True) for host in HOSTS[:done]]
        return Receipts(
            at_least=at_least, hosts=len(HOSTS), done=done, items=(late + rest)[:limit]
        )

    def statement(self, authority):
        return SimpleNamespace(krl=SimpleNamespace(version=7))


class Clock:
    """Goes on by what is waited."""

    now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def wait(api, krl_version=7, seconds=60, begun=100.0):
    told, clock = io.StringIO(), Clock()
    waiting = Wait(
        api=api, authority="blue", begun=begun, told=told, ticks=clock, pause=clock.sleep
    )
    done = waiting.until(krl_version, timedelta(seconds=seconds))
    return done, told.getvalue().splitlines()


def test_it_ends_when_all_hosts_have_shown_to_refuse():
    api = FakeApi(900, 900, 990, 1000)
    assert wait(api, begun=98.65) == (
        True,
        [
            "refused on 900/1000 hosts",
            "refused on 990/1000 hosts",
            "refused on 1000/1000 hosts in 2.1 s",
        ],
    )
    assert set(api.asked) == {("blue", 7, 1)}


def test_those_that_have_not_are_named():
    done, told = wait(FakeApi(997), seconds=2)
    assert not done
    assert told == [
        "refused on 997/1000 hosts",
        "refused on 997/1000 hosts in 2.0 s",
        "missing: web-997, web-998, web-999",
    ]


def test_of_more_than_a_list_gives_the_rest_is_counted():
    class Many(FakeApi):
        def receipts(self, authority, at_least, *, limit=1):
            return super().receipts(authority, at_least, limit=min(limit, 2))

    assert wait(Many(0), seconds=1)[1][-1] == "missing: web-000, web-001 and 998 more"


def test_a_host_that_was_admitted_again_is_named_with_since_when():
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    class Again(FakeApi):
        def receipts(self, authority, at_least, *, limit=1):
            late = HostReceipt(host="db", done=False, not_enrolled_since=since)
            return Receipts(at_least=at_least, hosts=1, done=0, items=[late])

    told = wait(Again(0), seconds=1)[1]
    assert told[-1] == "missing: db (not enrolled since 2026-01-02T03:04:05Z)"


def test_an_outage_is_waited_out_and_told():
    api = FakeApi(Unavailable("no answer"), Unavailable("no answer"), 1000)
    done, told = wait(api)
    assert done
    assert told == ["no answer", "refused on 1000/1000 hosts in 0.5 s"]
    done, told = wait(FakeApi(Unavailable("no answer")), seconds=1)
    assert (done, told) == (False, ["no answer", "no answer in 1.0 s"])


def test_whoever_may_not_look_is_told_so():
    with pytest.raises(Denied):
        wait(FakeApi(Denied("not allowed")))


def test_a_list_that_was_not_built_yet_is_the_next_statements():
    api = FakeApi(1000)
    assert wait(api, krl_version=None)[0]
    assert api.asked == [("blue", 7, 1)]


def test_a_project_without_hosts_is_done_at_once_and_says_so():
    class Empty(FakeApi):
        def receipts(self, authority, at_least, *, limit=1):
            return Receipts(at_least=at_least, hosts=0, done=0, items=[])

    assert wait(Empty(0)) == (
        True,
        ["no host is enrolled here: refused on 0/0 hosts in 0.0 s"],
    )
