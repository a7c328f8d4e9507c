"""Losses and their topics (S4)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tatu.core import losses
from tatu.core.identity import Identity, Role
from tatu.core.losses import Sweep

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = st.text(alphabet='ab",[]\\ é', max_size=4)


def identity(project="p"):
    return Identity(
        issuer="local",
        subject="u",
        name="ann",
        project=project,
        roles=frozenset({Role(id="r1", name="admin"), Role(id="r2", name="member")}),
        mark=0,
        validated_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )


def test_every_loss_that_could_touch_an_identity_is_one_of_its_topics():
    assert {
        losses.everyone(),
        losses.user("u"),
        losses.project("p"),
        losses.user_in_project("u", "p"),
        losses.role("r1"),
        losses.role("r2"),
    } == losses.topics(identity())


def test_an_identity_without_a_project_has_no_topic_of_one():
    assert {
        losses.everyone(),
        losses.user("u"),
        losses.role("r1"),
        losses.role("r2"),
    } == losses.topics(identity(None))


def test_what_an_identity_was_got_by_is_a_topic_of_it():
    assert losses.user("u2") in losses.topics(replace(identity(), trustee="u2"))
    found = losses.topics(replace(identity(), origin="trust:t1"))
    assert found - losses.topics(identity()) == {losses.origin("trust:t1")}


def test_no_kind_of_topic_is_read_as_another():
    same = {
        losses.user("x"),
        losses.project("x"),
        losses.role("x"),
        losses.origin("x"),
        losses.signature_key("x"),
        losses.user_in_project("x", "x"),
        losses.subject_key("x", "x"),
        losses.host("x", "x"),
    }
    assert len(same) == 8


@given(IDS, IDS, IDS, IDS)
def test_no_two_ids_make_the_topic_of_two_others(a, b, c, d):
    assert ((a, b) == (c, d)) == (losses.user_in_project(a, b) == losses.user_in_project(c, d))
    assert ("user-in-project", a, b) == Sweep(
        mark=1, topic=losses.user_in_project(a, b), reason="", at=NOW
    ).parts
