"""What was written down and comes back: every prefix and mutation of it ends in the named error."""

import contextlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tatu.core import audit
from tatu.core.audit import GENESIS, SYSTEM, Event, Link
from tatu.core.errors import Malformed, Unavailable
from tatu.drivers.keystore.envelope import Envelope
from tatu.drivers.keystore.kek import SIZE, Kek, Keks, new_line
from tatu.store import auditcopy
from tatu.store.told import Told, listed, ranges

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FACTS = {
    "reason": "lost",
    "mark": 7,
    "revoked": {"blue": "1-3,7"},
    "blocked": ["user", "u1"],
    "cleared": ["host", "db"],
    "certificate": {"serial": 4},
}
BODY = audit.body(
    Event(action="done", actor=SYSTEM, authority="blue", subject="it", at=NOW, facts=FACTS)
)
LINK = audit.link(GENESIS, 1, BODY)
LINE = auditcopy.line(LINK)
KEK = Kek(bytes(range(SIZE)))
KEKS = f"{new_line(bytes)}\n{new_line(lambda size: b'k' * size)}\n".encode()
ENVELOPE = Envelope.seal(KEK, "name", b"the secret", bytes).encoded


def mutations(data):
    """Return what is nearly these bytes: cut off, or a piece of them replaced."""
    place = st.integers(0, len(data))
    pieces = st.tuples(place, place, st.binary(max_size=8)).map(
        lambda cut: data[: cut[0]] + cut[2] + data[max(cut[:2]) :]
    )
    return st.one_of(place.map(lambda end: data[:end]), pieces, st.binary())


def read(data):
    """Return the links of a copy with this content."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        return list(auditcopy.read(Path(file.name)))


# --- the audit copy


def test_a_copy_reads_as_it_was_written():
    assert read(LINE * 2) == [LINK, LINK]
    assert Told.of(LINK.body).revoked == {"blue": "1-3,7"}


def test_every_prefix_of_a_line_is_passed_over_as_torn_or_refused():
    for end in range(1, len(LINE) - 1):
        assert read(LINE + LINE[:end]) == [LINK]
        with pytest.raises(Malformed):
            read(LINE[:end] + b"\n")


def test_a_copy_that_ends_with_a_damaged_line_stops_signing(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(LINE.replace(b"lost", b"test"))
    with pytest.raises(Unavailable, match="event 1 of the audit copy is not what was written"):
        auditcopy.AuditCopy(path).check(1, LINK.hash)


@given(mutations(LINE))
@example(LINE.replace(b'"sequence":1', b'"sequence":1e999'))
@example(LINE.replace(b'"sequence":1', b'"sequence":1.5'))
@example(b"[" * 100_000 + b"\n")
def test_every_mutation_of_a_line_is_refused_or_is_a_link(data):
    try:
        found = read(data)
    except Malformed:
        return
    assert all(isinstance(link, Link) for link in found)


# --- what an event tells the ledger


def tell(data):
    """Return what a body tells, when it can be told; all of it must then be usable."""
    try:
        told = Told.of(data)
    except Malformed:
        return
    assert told.at.tzinfo is not None
    for written in told.revoked.values():
        next(listed(written), None)
    assert isinstance(told.certificate, dict | None)


def test_every_prefix_of_a_body_is_malformed():
    for end in range(len(BODY)):
        with pytest.raises(Malformed):
            Told.of(BODY[:end])


@given(mutations(BODY.encode()).map(lambda data: data.decode("utf-8", "replace")))
@example("[" * 100_000)
def test_every_mutation_of_a_body_is_malformed_or_told(data):
    tell(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@given(st.sampled_from(sorted(FACTS)), JSON)
@example("mark", float("inf"))
@example("blocked", "")
@example("revoked", {"blue": "1-"})
@example("revoked", {"blue": 7})
def test_facts_of_another_kind_are_malformed_or_told(name, value):
    event = json.loads(BODY)
    tell(json.dumps({**event, "facts": {**event["facts"], name: value}}))


@given(st.sampled_from(["action", "authority", "at", "actor", "facts"]), JSON)
@example("at", "2026-01-01")
def test_parts_of_another_kind_are_malformed_or_told(name, value):
    tell(json.dumps({**json.loads(BODY), name: value}))


@given(st.sets(st.integers(1, 2**63 - 1)))
def test_serials_read_as_they_were_written(serials):
    assert list(listed(ranges(serials))) == sorted(serials)


# --- secrets


@given(mutations(ENVELOPE))
def test_every_mutation_of_an_envelope_is_unavailable(data):
    keks = Keks((KEK,))
    if data == ENVELOPE:
        assert Envelope.read(data, "name").open(keks, "name") == b"the secret"
        return
    with pytest.raises(Unavailable) as refused:
        Envelope.read(data, "name").open(keks, "name")
    assert "the secret" not in str(refused.value)


@given(mutations(KEKS))
def test_every_mutation_of_key_encryption_keys_is_unavailable_or_whole_keys(data):
    try:
        found = Keks.parse(data.decode("ascii", "replace"), "the file")
    except Unavailable:
        return
    assert {len(kek.key) for kek in found.keys} == {SIZE}


@given(mutations(KEKS))
def test_no_error_shows_a_key(data):
    text = data.decode("ascii", "replace")
    with contextlib.suppress(Unavailable):
        Keks.parse(text, "the file")
        return
    with pytest.raises(Unavailable, match=r"^the file (is|holds)[a-z0-9 `;-]+$"):
        Keks.parse(text, "the file")
