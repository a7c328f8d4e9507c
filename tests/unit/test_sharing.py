"""One act for all who wait for it."""

import threading
import time

import pytest

from tatu.core.errors import Unavailable
from tatu.service.sharing import Shared
from tests.fakes.threads import together

LONG = 60  # seconds that no test waits for


def waiting(shared, count):
    """Wait until the next act has as many items."""
    until = time.monotonic() + LONG
    while shared._next is None or len(shared._next.items) < count:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_the_first_is_served_at_once():
    done = []
    Shared(done.append, pause=LONG, crowd=9).bring(1)
    assert done == [[1]]


def test_who_comes_while_one_is_done_waits_for_the_next_and_shares_it():
    done, begun, go_on = [], threading.Event(), threading.Event()

    def act(items):
        done.append(list(items))
        begun.set()
        assert go_on.wait(LONG)

    shared = Shared(act, pause=0, crowd=99)
    threads = [threading.Thread(target=shared.bring, args=(at,)) for at in range(9)]
    threads[0].start()
    assert begun.wait(LONG)
    for thread in threads[1:]:
        thread.start()
    waiting(shared, 8)
    assert done == [[0]]
    go_on.set()
    for thread in threads:
        thread.join()
    assert [sorted(items) for items in done] == [[0], list(range(1, 9))]


def test_a_crowd_does_not_wait_for_the_pause():
    done = []
    shared = Shared(done.append, pause=LONG, crowd=4)
    shared.bring("first")
    together(4, shared.bring)
    assert [len(items) for items in done] == [1, 4]


def test_between_two_there_is_a_pause():
    shared = Shared(lambda _: None, pause=0.2, crowd=9)
    shared.bring(1)
    begun = time.monotonic()
    shared.bring(2)
    assert time.monotonic() - begun > 0.1


def test_all_who_share_it_are_told_that_it_failed_and_the_next_is_done_again():
    done = []

    def act(items):
        done.append(list(items))
        if len(done) == 2:
            raise Unavailable("the ledger does not answer")

    shared = Shared(act, pause=LONG, crowd=3)
    shared.bring("first")

    def bring(at):
        with pytest.raises(Unavailable):
            shared.bring(at)

    together(3, bring)
    together(3, shared.bring)
    assert [len(items) for items in done] == [1, 3, 3]
