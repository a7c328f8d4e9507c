"""Whether something ended since a mark: what is remembered of identities asks it (S4)."""

import pytest

from tatu.core import losses
from tatu.core.errors import PermissionEnded
from tatu.store import cut_offs
from tests.contract.ledger.material import event

ANN, BOB = losses.user("ann"), losses.user("bob")


def test_what_was_cut_off_since_a_mark_has_ended_and_nothing_else(blue):
    before = blue.cut_offs.mark()
    after = blue.cut_offs.commit([ANN], "gone", event())
    with pytest.raises(PermissionEnded):
        blue.cut_offs.check({ANN, BOB}, before)
    assert blue.cut_offs.check({BOB}, before) == after
    assert blue.cut_offs.check({ANN}, after) == after


def test_what_another_process_cut_off_is_known_when_its_own_mark_is_old(
    blue, open_ledger, monkeypatch
):
    monkeypatch.setattr(cut_offs, "MARK_AGE", 1e9)
    other = open_ledger()
    before = other.cut_offs.mark()
    blue.cut_offs.commit([ANN], "gone", event())
    assert other.cut_offs.check({ANN}, before) == before
    monkeypatch.setattr(cut_offs, "MARK_AGE", 0.0)
    with pytest.raises(PermissionEnded):
        other.cut_offs.check({ANN}, before)


def test_who_asks_often_reads_nothing(blue, monkeypatch):
    monkeypatch.setattr(cut_offs, "MARK_AGE", 1e9)
    before = blue.cut_offs.mark()
    monkeypatch.setattr(blue.cut_offs, "mark", None)  # cannot be called
    assert blue.cut_offs.check({ANN}, before) == before
