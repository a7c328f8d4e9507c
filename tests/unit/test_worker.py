"""How often the worker does what it repeats."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
import structlog

from tatu.core.errors import Unavailable
from tatu.worker import Worker

PAUSE = timedelta(minutes=5)


class Due:
    """An event that notes how long is waited for it, and ends the worker at the first wait."""

    def __init__(self, worker):
        self.worker = worker

    def wait(self, seconds):
        self.seconds = seconds
        self.worker._stopping = True

    def clear(self):
        pass


def test_the_word_to_stop_reaches_whoever_waits_for_it_next():
    worker, stopped = Worker(None), threading.Event()

    def act():
        worker._stopping = True
        stopped.set()

    worker._repeat("test", act, stopped, PAUSE)
    assert stopped.is_set()


class Swept:
    """A revocation whose sweep finds what is to be swept again."""

    def __init__(self):
        self.sweeps = 0

    def sweep(self):
        self.sweeps += 1
        return 3

    def due(self):
        return timedelta(seconds=self.sweeps)


def test_what_was_swept_too_early_is_swept_again_when_it_is_due():
    worker = Worker(SimpleNamespace(revocation=Swept()))
    due = Due(worker)
    worker._repeat("sweep", worker._sweep, due, PAUSE)
    assert due.seconds == 1


def test_a_domain_in_which_nobody_can_enrol_is_told_once():
    domains = [["new"], ["new", "newer"]]
    worker = Worker(SimpleNamespace(out_of_sight=lambda: domains.pop(0)))
    with structlog.testing.capture_logs() as told:
        worker._look_around()
        worker._look_around()
    assert [(each["event"], each["domain"]) for each in told] == [
        ("domain.out-of-sight", "new"),
        ("domain.out-of-sight", "newer"),
    ]


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(None, 300), (timedelta(minutes=1), 60), (timedelta(hours=1), 300), (Unavailable("no"), 300)],
)
def test_the_pause_is_as_short_as_what_is_repeated_asks_and_no_longer_than_usual(asked, seconds):
    def act():
        if isinstance(asked, Exception):
            raise asked
        return asked

    worker = Worker(None)
    due = Due(worker)
    worker._repeat("test", act, due, PAUSE)
    assert due.seconds == seconds
