"""The audit chain (S23)."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import audit
from tatu.core.audit import GENESIS, SYSTEM, Checkpoint, Event
from tatu.core.errors import Malformed

NOW = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
EVENT = Event(
    action="test",
    actor=SYSTEM,
    authority="blue",
    subject="ann",
    at=NOW,
    request_id="r",
    facts={"b": 1, "a": "é"},
)


def chain(count):
    links, previous = [], GENESIS
    for sequence in range(1, count + 1):
        links.append(
            audit.link(previous, sequence, audit.body(replace(EVENT, subject=str(sequence))))
        )
        previous = links[-1].hash
    return links


def test_a_body_is_canonical_json_in_ascii():
    body = audit.body(EVENT)

    assert body.isascii()
    assert json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")) == body
    assert json.loads(body)["at"] == "2026-01-01T01:02:03.456+00:00"
    assert json.loads(body)["actor"] == {"kind": "system", "issuer": "", "id": "", "name": ""}


def test_facts_that_json_has_no_number_for_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        audit.body(replace(EVENT, facts={"x": float("nan")}))


def test_a_whole_chain_leads_to_its_head():
    links = chain(5)

    assert (5, links[-1].hash) == audit.check(links)
    assert (5, links[-1].hash) == audit.check(links[2:], previous=links[1].hash, sequence=2)
    assert audit.check([]) == (0, GENESIS)


@given(st.integers(0, 4), st.sampled_from(["previous", "body", "hash", "sequence"]), st.data())
def test_a_changed_link_breaks_the_chain_there(at, part, data):
    links = chain(5)
    value = data.draw(st.integers(-1, 9) if part == "sequence" else st.text(max_size=70))
    changed = replace(links[at], **{part: value})
    if changed == links[at]:
        return
    links[at] = changed

    with pytest.raises(Malformed, match=f"broken at event {at + 1}"):
        audit.check(links)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda links: links[1:],
        lambda links: links[:2] + links[3:],
        lambda links: [links[1], links[0], *links[2:]],
        lambda links: [*links[:2], links[1], *links[2:]],
    ],
)
def test_links_that_are_missing_moved_or_repeated_break_the_chain(tamper):
    with pytest.raises(Malformed):
        audit.check(tamper(chain(4)))


def test_a_rewritten_past_has_another_head():
    rewritten = [audit.link(GENESIS, 1, audit.body(replace(EVENT, subject="eve")))]

    assert audit.check(chain(1)) != audit.check(rewritten)


def test_a_checkpoint_is_signed_as_canonical_json():
    encoded = Checkpoint(deployment="d", sequence=3, hash="ab", at=NOW).encoded

    assert encoded == b'{"at":"2026-01-01T01:02:03Z","deployment":"d","hash":"ab","sequence":3}'
