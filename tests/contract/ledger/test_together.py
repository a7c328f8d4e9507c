"""Small writes of many threads in one commit."""

import threading
import time
from datetime import timedelta

import pytest

from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.store.together import GROUP, Together
from tests.contract.ledger.material import NOW, event, host, key, receipt
from tests.fakes.threads import together


class Counting:
    """A database that counts its commits, and waits for `gate` in the first."""

    def __init__(self, database=None):
        self.commits = 0
        self.gate = threading.Event()
        self.begun = threading.Event()
        self._database = database

    def write(self, work):
        self.commits += 1
        if self.commits == 1:
            self.begun.set()
            assert self.gate.wait(30)
        return work(None) if self._database is None else self._database.write(work)


def gathered(database, count, work):
    """Let one write begin and `count` more wait for it; return what became of those."""
    writer = Together(database)
    first = threading.Thread(target=writer.write, args=(lambda _: None,))
    first.start()
    assert database.begun.wait(30)

    def wait(number):
        try:
            return writer.write(lambda connection: work(connection, number))
        except Exception as error:  # noqa: BLE001 - whatever it is
            return error

    def release():
        until = time.monotonic() + 30
        while len(writer._waiting) < count and time.monotonic() < until:
            time.sleep(0.001)
        database.gate.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    found = together(count, wait)
    for thread in (first, releasing):
        thread.join()
    return found


def test_those_who_wait_are_written_by_one_commit():
    database = Counting()
    assert gathered(database, 20, lambda _, number: number) == list(range(20))
    assert database.commits == 2


def test_a_group_has_an_end():
    database = Counting()
    assert len(gathered(database, GROUP + 1, lambda _, number: number)) == GROUP + 1
    assert database.commits == 3


def test_what_is_wrong_with_one_is_nothing_to_the_others(blue):
    """A host that repeats a request does not keep others from being heard."""

    def work(connection, number):
        if number == 3:
            raise Conflict("of this one")
        return number

    found = gathered(Counting(blue.hosts._database), 6, work)
    assert isinstance(found.pop(3), Conflict)
    assert found == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError()])
def test_all_are_told_when_nothing_can_be_written(error):
    def work(connection, number):
        raise error

    database = Counting()
    assert gathered(database, 6, work) == [error] * 6
    assert database.commits == 2


def test_a_fleet_tells_at_once(blue):
    hosts = [f"h{number}" for number in range(24)]
    for each in hosts:
        blue.hosts.admit(host(each), event())
        blue.hosts.enrol("blue", each, 1, [key(each).line], event())

    def tell(number):
        blue.nonces.use(f"n{number % 20}", until=NOW + timedelta(minutes=1))
        blue.receipts.put(receipt(hosts[number], 5), "proof")

    def tried(number):
        try:
            tell(number)
        except Conflict:
            return 0
        return 1

    assert sum(together(24, tried)) == 20
    assert blue.receipts.count("blue", now=NOW, at_least=5) == (24, 20)
    with pytest.raises(NotFound):
        blue.receipts.put(receipt("none"), "proof")
