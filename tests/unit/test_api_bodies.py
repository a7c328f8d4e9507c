"""How many may read a body at once, so that others are still answered."""

import threading
from contextlib import ExitStack

import pytest

from tatu.api import bodies
from tatu.api.bodies import PER_ADDRESS, Bodies
from tatu.core.errors import Unavailable


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE", 0.01)


def fill(places, stack, *addresses):
    for address in addresses:
        stack.enter_context(places.place(address))


def refused(places, address):
    with pytest.raises(Unavailable), places.place(address):
        pass


def test_an_address_has_eight_places_and_leaves_the_others_theirs():
    places = Bodies(64)
    with ExitStack() as stack:
        fill(places, stack, *["here"] * PER_ADDRESS)
        refused(places, "here")
        fill(places, stack, "there")
    with places.place("here"):
        pass


def test_half_of_the_threads_read_at_most():
    places = Bodies(64)
    with ExitStack() as stack:
        fill(places, stack, *(f"a{n % 16}" for n in range(32)))
        refused(places, "another")
    with places.place("another"):
        pass


def test_a_single_thread_still_reads():
    places = Bodies(1)
    with places.place("here"):
        refused(places, "here")


def test_who_waits_gets_the_place_that_becomes_free(monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE", 30)
    places = Bodies(8)
    read = threading.Event()

    def reader():
        with places.place("here"):
            read.set()

    with ExitStack() as stack:
        fill(places, stack, *"abcd")
        waiting = threading.Thread(target=reader)
        waiting.start()
    waiting.join(30)
    assert read.is_set()


def test_one_thread_in_eight_neither_reads_nor_waits(monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE", 30)
    places = Bodies(64)
    refusals = threading.Semaphore(0)

    def reader():
        try:
            with places.place("here"):
                pass
        except Unavailable:
            refusals.release()

    threads = [threading.Thread(target=reader) for _ in range(32)]
    with ExitStack() as stack:
        fill(places, stack, *["here"] * PER_ADDRESS)
        for thread in threads:
            thread.start()
        for _ in range(8):  # 24 wait
            assert refusals.acquire(timeout=30)
    for thread in threads:
        thread.join(30)
    assert not refusals.acquire(blocking=False)
