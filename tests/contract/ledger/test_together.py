"""Small writes of many threads in one commit."""

import threading
import time

import pytest

from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.store.together import GROUP, Together
from tests.contract.ledger.material import NOW, event, host, key, once, receipt
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


def as_they_are(connection, numbers):
    return numbers


def gathered(database, count, kind):
    """Let one write begin and `count` more wait for it; return what became of those."""
    writer = Together(database)
    first = threading.Thread(target=writer.write, args=(as_they_are, None))
    first.start()
    assert database.begun.wait(30)

    def wait(number):
        try:
            return writer.write(kind(number), number)
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
    assert gathered(database, 20, lambda _: as_they_are) == list(range(20))
    assert database.commits == 2


def test_a_group_has_an_end():
    database = Counting()
    assert len(gathered(database, GROUP + 1, lambda _: as_they_are)) == GROUP + 1
    assert database.commits == 3


def test_what_is_wrong_with_one_is_nothing_to_the_others(blue):
    """A host that repeats a request does not keep others from being heard."""

    def settle(connection, numbers):
        if 3 in numbers:
            raise Conflict("of one of them")
        return [NotFound("this one") if number == 4 else number for number in numbers]

    found = gathered(Counting(blue.hosts._database), 6, lambda _: settle)
    assert [type(found.pop(3)), type(found.pop(3))] == [Conflict, NotFound]
    assert found == [0, 1, 2, 5]


def test_things_of_several_kinds_are_written_by_one_commit_each_kind_at_once():
    calls = []

    def evens(connection, numbers):
        calls.append(sorted(numbers))
        return ["even" for _ in numbers]

    def odds(connection, numbers):
        calls.append(sorted(numbers))
        return ["odd" for _ in numbers]

    database = Counting()
    found = gathered(database, 6, lambda number: odds if number % 2 else evens)
    assert found == ["even", "odd"] * 3
    assert database.commits == 2
    assert sorted(calls) == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError()])
def test_all_are_told_when_nothing_can_be_written(error):
    def settle(connection, numbers):
        raise error

    database = Counting()
    assert gathered(database, 6, lambda _: settle) == [error] * 6
    assert database.commits == 2


def test_a_fleet_tells_at_once(blue):
    hosts = [f"h{number}" for number in range(24)]
    for each in hosts:
        blue.hosts.admit(host(each), event())
        blue.hosts.enrol("blue", each, 1, [key(each).line], event())

    def tell(number):
        blue.receipts.put(receipt(hosts[number], 5), "proof", once(f"n{number % 20}"))

    def tried(number):
        try:
            tell(number)
        except Conflict:
            return 0
        return 1

    assert sum(together(24, tried)) == 20
    assert blue.receipts.count("blue", now=NOW, at_least=5) == (24, 20)
    with pytest.raises(NotFound):
        blue.receipts.put(receipt("none"), "proof", once())
