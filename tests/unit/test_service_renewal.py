"""Renewal: an instance is certified for what the cloud calls it at that moment (S8, S12)."""

from dataclasses import replace

import pytest

from tatu.core.certificate import Certificate
from tatu.core.errors import Denied, Gone, Unauthenticated, Unavailable
from tests.fakes.deployment import Key
from tests.unit.test_service_enrolment import redeem
from tests.unit.test_service_instances import A, B, ask, boot, host
from tests.unit.test_service_issuance import events


@pytest.fixture
def enrolled(deployment):
    """An instance that enrolled with two keys."""
    boot(deployment, addresses=["10.0.0.5"])
    redeem(deployment, ask(deployment), Key(), Key())
    return deployment


def renewed(deployment, found=None):
    given = deployment.renewal.renew(found or host(deployment), request_id="r")
    return [Certificate.parse(certificate.line).contents for certificate in given]


def test_each_key_is_certified_for_what_the_cloud_says_now(enrolled):
    enrolled.inventory.change(A, name="www", addresses=("10.0.0.6",))
    found = renewed(enrolled)
    assert [each.subject_key.line for each in found] == list(host(enrolled).host_keys)
    for each in found:
        assert set(each.principals) == {A, "www", "www.blue.example", "10.0.0.6"}
    assert host(enrolled).renewal_due_at is None
    (event,) = events(enrolled, "host.renewed")
    assert event["facts"]["serials"] == [each.serial for each in found]


def test_what_names_too_much_is_revoked_and_all_else_lives_on(enrolled):
    before = renewed(enrolled)
    enrolled.clock.forward(days=4)
    renewed(enrolled)
    standing = enrolled.ledger.certificates
    for each in before:
        assert standing.get("blue", each.serial, scope=None).revoked_at is None
    enrolled.inventory.change(A, addresses=())
    renewed(enrolled)
    for each in before:
        assert standing.get("blue", each.serial, scope=None).revoked_reason == "host.rebound"


def test_an_instance_that_is_gone_renews_nothing_and_that_is_written_down(enrolled):
    found = host(enrolled)
    enrolled.inventory.remove(A)
    for _ in range(12):
        with pytest.raises(Denied):
            renewed(enrolled, found)
    denied = events(enrolled, "host.renewal-denied")
    assert len(denied) == 10
    assert denied[0]["actor"]["kind"] == "host"


def test_a_cloud_that_does_not_answer_is_waited_out(enrolled):
    enrolled.inventory.out = True
    with pytest.raises(Unavailable):
        renewed(enrolled)


def test_a_name_that_another_instance_holds_is_renewed_without(enrolled):
    boot(enrolled, B, name="web", addresses=["10.0.0.9"])
    redeem(enrolled, ask(enrolled, B), Key())
    enrolled.inventory.change(B, name="db")
    for each in renewed(enrolled, host(enrolled, B)):
        assert set(each.principals) == {B, "10.0.0.9"}


def test_a_host_that_is_no_more_what_it_was_renews_nothing(enrolled):
    found = host(enrolled)
    enrolled.admissions.admit(enrolled.who("ann"), "blue", A, request_id="r")
    enrolled.clock.forward(days=4)
    with pytest.raises(Unauthenticated):
        renewed(enrolled, found)


def test_a_loss_between_two_steps_is_looked_at_again(enrolled):
    snapshot = enrolled.ledger.authorities.snapshot("blue")
    enrolled.inventory.change(A, addresses=("10.0.0.7",))
    enrolled.clock.forward(days=4)
    stale = [replace(snapshot, mark=snapshot.mark)]
    real = enrolled.ledger.authorities.snapshot
    enrolled.ledger.authorities.snapshot = lambda name: stale.pop() if stale else real(name)
    enrolled.instances.refresh(A)
    for each in renewed(enrolled):
        assert "10.0.0.7" in each.principals


def test_a_retired_authority_renews_nothing(enrolled):
    found = host(enrolled)
    enrolled.ledger.authorities.retire("blue", enrolled.event())
    with pytest.raises(Gone):
        renewed(enrolled, found)
