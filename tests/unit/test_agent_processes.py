"""Whose a process is, where accounts make user namespaces."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

from tatu.agent import processes

SUBORDINATE = 100_005


@pytest.fixture
def made_by(monkeypatch):
    """Have everything run in user namespaces that these uids made, from the innermost out."""

    def make(*owners):
        left = list(owners)

        def ioctl(_namespace, request, *_):
            if request == processes._GET_OWNER:
                return left.pop(0).to_bytes(4, sys.byteorder)
            if left:
                return os.open("/dev/null", os.O_RDONLY)
            raise PermissionError

        monkeypatch.setattr(fcntl, "ioctl", ioctl)

    return make


def opened():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("owners", "real", "owner"),
    [
        ((), 1001, 1001),
        ((1001,), SUBORDINATE, 1001),
        ((SUBORDINATE, SUBORDINATE, 1001), SUBORDINATE, 1001),
        ((0,), SUBORDINATE, SUBORDINATE),
        ((1001, 0), SUBORDINATE, SUBORDINATE),
        ((1001,), 0, 0),
    ],
    ids=[
        "in none",
        "in its own",
        "in one within another",
        "in root's",
        "in one in root's",
        "root",
    ],
)
def test_a_process_is_whose_the_outermost_user_namespace_is(made_by, owners, real, owner):
    made_by(*owners)
    before = opened()
    assert processes._owner(os.getpid(), real) == owner
    assert opened() == before


def test_a_process_whose_namespace_nobody_can_see_is_of_its_uid():
    assert processes._owner(2**22 + 1, 1001) == 1001
