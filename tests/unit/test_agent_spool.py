"""What is kept on disk until Tatu has been told of it."""

import os
import threading

import pytest

from tatu.agent import spool
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.spool import Batch


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")


def ids(batch):
    return [event["id"] for event in batch.events]


def test_events_come_in_order_until_they_are_done(layout):
    for number in range(5):
        spool.append(layout, {"id": str(number), "kind": "accepted"})
    first = spool.batch(layout, 3)
    assert (ids(first), first.lost) == (["0", "1", "2"], 0)
    assert first == spool.batch(layout, 3)
    spool.done(layout, first)
    assert ids(spool.batch(layout, 3)) == ["3", "4"]


def test_what_comes_meanwhile_is_not_forgotten(layout):
    spool.append(layout, {"id": "a"})
    told = spool.batch(layout, 100)
    spool.append(layout, {"id": "b"})
    spool.done(layout, told)
    assert ids(spool.batch(layout, 100)) == ["b"]


def test_each_event_has_an_id_of_its_own(layout):
    for _ in range(2):
        spool.append(layout, {"kind": "accepted"})
    assert len(set(ids(spool.batch(layout, 2)))) == 2


def test_an_empty_spool_has_nothing(layout):
    assert Batch((), 0) == spool.batch(layout, 10)


def test_what_does_not_fit_is_counted_and_the_count_told_once(layout, monkeypatch):
    monkeypatch.setattr(spool, "MAX_SIZE", 100)
    for number in range(5):
        spool.append(layout, {"id": str(number), "kind": "x" * 40})
    told = spool.batch(layout, 10)
    assert (ids(told), told.lost) == (["0"], 4)
    spool.append(layout, {"id": "late", "kind": "x" * 40})
    spool.done(layout, told)
    assert Batch((), 1) == spool.batch(layout, 10)


def test_an_event_that_is_too_large_is_counted(layout):
    spool.append(layout, {f"field {number}": "x" * 250 for number in range(100)})
    assert Batch((), 1) == spool.batch(layout, 10)


def test_a_line_that_a_crash_cut_short_spoils_no_other(layout):
    spool.append(layout, {"id": "a"})
    with (layout.spool / "events").open("ab") as file:
        file.write(b'\n{"id": "b", "ki')
    spool.append(layout, {"id": "c"})
    told = spool.batch(layout, 10)
    assert (ids(told), told.lost) == (["a", "c"], 1)
    spool.done(layout, told)
    assert Batch((), 0) == spool.batch(layout, 10)


def test_an_event_that_was_not_written_whole_fails_and_spoils_no_other(layout, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda opened, data: write(opened, data[:8]))
    with pytest.raises(AgentError, match="no room"):
        spool.append(layout, {"id": "a"})
    monkeypatch.undo()
    spool.append(layout, {"id": "b"})
    told = spool.batch(layout, 10)
    assert (ids(told), told.lost) == (["b"], 1)


@pytest.mark.parametrize("line", [b"7", b"[]", b"{}", b'{"id"', b"\xff", b"[" * 100_000])
def test_whatever_stands_there_is_counted_and_goes(line, layout):
    spool.append(layout, {"id": "a"})
    with (layout.spool / "events").open("ab") as file:
        file.write(line + b"\n")
    told = spool.batch(layout, 10)
    assert (ids(told), told.lost) == (["a"], 1)
    spool.done(layout, told)
    assert Batch((), 0) == spool.batch(layout, 10)


def test_hooks_and_agent_lose_nothing_to_one_another(layout):
    def write(name):
        for number in range(20):
            spool.append(layout, {"id": f"{name}-{number}"})

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    seen = []
    while len(seen) < 80:
        told = spool.batch(layout, 7)
        seen += ids(told)
        spool.done(layout, told)
    for thread in threads:
        thread.join()
    assert (len(set(seen)), spool.batch(layout, 1).lost) == (80, 0)


def test_foreign_texts_are_told_as_tatu_takes_them(layout):
    spool.append(layout, {"id": "a", "key_id": "x\x1b[2J\n" + "y" * 300, "serial": 2**64 - 1})
    [event] = spool.batch(layout, 1).events
    assert (event["key_id"][:6], len(event["key_id"])) == ("x?[2J?", 255)
    assert event["serial"] == 2**64 - 1


def test_the_spool_is_for_root_alone(layout):
    spool.append(layout, {"id": "a"})
    paths = (layout.spool, layout.spool / "events", layout.spool / "lock")
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o700, 0o600, 0o600]
