"""Instances: the cloud speaks for them, for a while after they were built (S8, S11, S21)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import enrolment
from tatu.core.errors import Conflict, Denied, Gone, NotFound, Unavailable
from tatu.core.policy import Wanted
from tatu.ports import Project, RevocationSelector
from tatu.service.statements import statement_keys
from tests.fakes.deployment import Key
from tests.fakes.threads import together
from tests.unit.test_service_enrolment import certificates, live, redeem
from tests.unit.test_service_issuance import events, request

A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def boot(deployment, instance=A, **parts):
    return deployment.inventory.put(instance, built_at=deployment.clock(), **parts)


def ask(deployment, instance=A, project="blue", **more):
    """What Nova gets for an instance, by the user that it asks with."""
    return deployment.instances.vendordata(
        deployment.who("bob"), instance, project, request_id="r", **more
    )


def host(deployment, instance=A):
    return deployment.ledger.hosts.get("blue", instance, scope=None)


def principals(certificate):
    return set(certificate.contents.principals)


def test_an_instance_that_was_just_built_is_told_where_to_enrol_whom_to_trust_and_a_token(
    deployment,
):
    boot(deployment, addresses=["10.0.0.5"])
    told = ask(deployment)

    assert (told.authority.id, told.host, told.url) == ("blue", A, "https://vms.tatu.example")
    assert told.token.url == told.url
    assert told.token.trust == enrolment.trust_digest(statement_keys(told.authority))
    (certificate,) = certificates(redeem(deployment, told, Key()))
    assert {A, "db", "db.blue.example", "10.0.0.5"} == principals(certificate)
    (event,) = events(deployment, "host.admitted")
    assert (event["actor"]["name"], event["facts"]["refused"]) == ("bob", [])
    assert host(deployment).instance


def test_the_token_is_the_same_until_it_is_redeemed_and_then_there_is_none(deployment):
    boot(deployment)
    told = ask(deployment)
    deployment.clock.forward(minutes=5)

    assert told == ask(deployment)
    redeem(deployment, told, Key())
    assert (ask(deployment).token, ask(deployment).admitted) == (None, None)
    assert len(events(deployment, "host.admitted")) == 1


def test_eight_who_ask_at_once_get_the_same_token(deployment):
    boot(deployment)
    told = together(8, lambda _: ask(deployment))

    assert len({str(each.token) for each in told}) == 1
    assert host(deployment).epoch == 1


def test_eight_operators_who_admit_a_host_at_once_get_the_same_token(deployment):
    def admit(_):
        return deployment.admissions.admit(deployment.who("ann"), "blue", "x", request_id="r")

    assert len({str(each.token) for each in together(8, admit)}) == 1


@pytest.mark.parametrize("asked_before", [True, False])
def test_after_the_window_there_is_no_token(deployment, asked_before):
    boot(deployment)
    if asked_before:
        assert ask(deployment).token
    deployment.clock.forward(minutes=10)

    told = ask(deployment)
    assert (told.authority.id, told.host, told.token) == ("blue", A, None)


def test_a_token_of_an_instance_is_good_for_no_longer_than_the_window(deployment):
    boot(deployment)
    told = ask(deployment)
    deployment.clock.forward(minutes=10)

    with pytest.raises(Denied):
        redeem(deployment, told, Key())


def test_a_rebuild_opens_the_next_epoch_and_the_certificates_of_the_one_before_end(deployment):
    boot(deployment)
    first = ask(deployment)
    redeem(deployment, first, Key())
    old = live(deployment)
    deployment.clock.forward(days=1)
    assert ask(deployment).token is None

    boot(deployment)
    second = ask(deployment)
    assert second.token not in (None, first.token)
    assert second == ask(deployment)
    redeem(deployment, second, Key())
    assert not old & live(deployment)


def test_the_token_of_an_earlier_build_is_worthless(deployment):
    boot(deployment)
    first = ask(deployment)
    deployment.clock.forward(minutes=1)
    boot(deployment)
    ask(deployment)

    with pytest.raises(Denied):
        redeem(deployment, first, Key())


def test_an_old_instance_gets_a_token_when_an_operator_admits_it(deployment):
    boot(deployment)
    redeem(deployment, ask(deployment), Key())
    deployment.clock.forward(days=3)
    admitted = deployment.admissions.admit(deployment.who("ann"), "blue", A, request_id="r")

    told = ask(deployment)
    assert admitted.token.secret == told.token.secret
    assert told.admitted.instance


def test_a_cloud_whose_clock_is_a_little_ahead_gets_one_epoch(deployment):
    built = deployment.clock() + timedelta(seconds=30)
    deployment.inventory.put(A, built_at=built)

    assert ask(deployment) == ask(deployment)
    assert host(deployment).epoch == 1


def test_a_build_in_the_future_is_no_answer(deployment):
    deployment.inventory.put(A, built_at=deployment.clock() + timedelta(hours=1))

    with pytest.raises(Unavailable, match="clock"):
        ask(deployment)


# --- whom nothing is told


@pytest.mark.parametrize(("instance", "project"), [(B, "blue"), (A, "red")])
def test_an_instance_that_the_project_has_not_is_refused_and_written_down(
    deployment, instance, project
):
    boot(deployment)
    with pytest.raises(Denied, match="no such instance"):
        ask(deployment, instance, project)

    (event,) = events(deployment, "vendordata.denied")
    assert (event["subject"], event["authority"]) == (instance, project)
    assert event["actor"]["name"] == "bob"
    assert not events(deployment, "host.admitted")


def test_the_chain_does_not_grow_with_every_refusal(deployment):
    for _ in range(20):
        with pytest.raises(Denied):
            ask(deployment)

    assert len(events(deployment, "vendordata.denied")) == 10


def test_a_token_proves_no_other_instance(deployment):
    boot(deployment)
    boot(deployment, B, name="web")
    told, other = ask(deployment), ask(deployment, B)
    stolen = replace(other, token=replace(told.token, host=B))

    with pytest.raises(Denied):
        redeem(deployment, stolen, Key())
    (event,) = events(deployment, "host.enrolment-denied")
    assert event["subject"] == B


def test_a_blocked_instance_is_told_nothing(deployment):
    boot(deployment)
    ask(deployment)
    deployment.revocation.revoke(
        deployment.who("ann"),
        RevocationSelector(authority="blue", host=A, block=True),
        "stolen",
        request_id="r",
    )

    with pytest.raises(Denied, match="blocked"):
        ask(deployment)
    assert events(deployment, "vendordata.denied")


def test_without_an_answer_of_the_cloud_there_is_none_of_ours(deployment):
    boot(deployment)
    deployment.inventory.out = True

    with pytest.raises(Unavailable):
        ask(deployment)


def test_a_project_without_authority_is_told_so(deployment):
    deployment.inventory.put(A, built_at=deployment.clock(), project="green")

    with pytest.raises(NotFound, match="green"):
        ask(deployment, project="green")


def test_a_project_gets_its_authority_with_its_first_instance_where_that_is_wanted(deployment):
    deployment.ledger.directory.create_project(
        Project(id="green", name="Green"), deployment.event()
    )
    deployment.inventory.put(A, built_at=deployment.clock(), project="green")
    wanted = replace(deployment.instances.settings, create_authorities=True)
    deployment.instances = replace(deployment.instances, settings=wanted)
    with pytest.raises(Denied):
        ask(deployment, B, "green")
    with pytest.raises(NotFound):
        deployment.authorities.show("green")
    with pytest.raises(Denied):
        ask(deployment, B, "nowhere")
    assert len(events(deployment, "vendordata.denied")) == 2

    told = together(4, lambda _: ask(deployment, project="green"))
    assert {"Green"} == {each.authority.name for each in told}
    assert len({str(each.token) for each in told}) == 1


def test_the_instances_of_a_deleted_project_get_nothing(deployment):
    boot(deployment)
    deployment.ledger.authorities.retire("blue", deployment.event())

    with pytest.raises(Gone):
        ask(deployment)


# --- names and addresses (S8)


def test_the_second_instance_of_a_name_goes_by_its_id_and_that_is_written_down(deployment):
    boot(deployment)
    boot(deployment, B, addresses=["10.0.0.6"])
    ask(deployment)
    (certificate,) = certificates(redeem(deployment, ask(deployment, B), Key()))

    assert {B, "10.0.0.6"} == principals(certificate)
    refused = events(deployment, "host.admitted")[-1]["facts"]["refused"]
    assert [("db", f"'db' is held by host {A!r}")] == [(r["name"], r["reason"]) for r in refused]
    assert host(deployment).names == ("db", "db.blue.example")


def test_asking_again_for_a_name_that_another_holds_writes_nothing_down(deployment):
    boot(deployment)
    boot(deployment, B)
    ask(deployment)
    ask(deployment, B)
    before = deployment.ledger.audit.head()
    ask(deployment, B)

    assert before == deployment.ledger.audit.head()


@pytest.mark.parametrize("name", ["github.com", "a_b", "192", "x" * 64])
def test_an_instance_with_a_name_that_no_host_may_have_goes_by_its_id(deployment, name):
    boot(deployment, name=name)
    ask(deployment)

    assert host(deployment).principals == (A,)
    (event,) = events(deployment, "host.admitted")
    assert event["facts"]["refused"][0]["name"] == name


def test_addresses_that_everybody_has_are_nobodys(deployment):
    boot(deployment, addresses=["127.0.0.1", "169.254.0.9", "fe80::1", "0.0.0.0", "10.0.0.5"])
    ask(deployment)

    assert host(deployment).addresses == ("10.0.0.5",)


def test_a_name_goes_to_the_second_when_the_first_is_called_something_else(deployment):
    boot(deployment)
    boot(deployment, B)
    ask(deployment)
    ask(deployment, B)
    deployment.inventory.change(A, name="old")
    deployment.instances.refresh(B)

    assert host(deployment, B).names == ("db", "db.blue.example")
    assert host(deployment).names == ("old", "old.blue.example")


def test_a_floating_address_that_is_added_makes_renewal_due(deployment):
    boot(deployment, addresses=["10.0.0.5"])
    redeem(deployment, ask(deployment), Key())
    kept = live(deployment)
    deployment.inventory.change(A, addresses=("10.0.0.5", "203.0.113.7"))
    deployment.instances.refresh(A)

    found = host(deployment)
    assert (found.addresses, kept) == (("10.0.0.5", "203.0.113.7"), live(deployment))
    assert found.renewal_due_at


def test_an_address_that_moved_ends_what_the_old_holder_has_when_only_the_new_one_is_named(
    deployment,
):
    boot(deployment, addresses=["203.0.113.7"])
    boot(deployment, B, name="web")
    redeem(deployment, ask(deployment), Key())
    kept = live(deployment)
    redeem(deployment, ask(deployment, B), Key())
    deployment.inventory.change(A, addresses=("203.0.113.8",))
    deployment.inventory.change(B, addresses=("203.0.113.7",))
    deployment.instances.refresh(B)

    assert host(deployment, B).addresses == ("203.0.113.7",)
    assert host(deployment).addresses == ("203.0.113.8",)
    assert not kept & live(deployment)
    assert host(deployment).renewal_due_at


def test_two_instances_may_swap_their_addresses(deployment):
    boot(deployment, addresses=["203.0.113.7"])
    boot(deployment, B, name="web", addresses=["203.0.113.8"])
    ask(deployment)
    ask(deployment, B)
    deployment.inventory.change(A, addresses=("203.0.113.8",))
    deployment.inventory.change(B, addresses=("203.0.113.7",))
    deployment.instances.refresh(A)

    assert host(deployment).addresses == ("203.0.113.8",)
    assert host(deployment, B).addresses == ("203.0.113.7",)


def test_an_instance_gets_the_address_of_one_that_is_gone(deployment):
    boot(deployment, addresses=["10.0.0.5"])
    ask(deployment)
    deployment.inventory.remove(A)
    boot(deployment, B, name="web", addresses=["10.0.0.5"])
    ask(deployment, B)

    assert host(deployment, B).addresses == ("10.0.0.5",)
    assert host(deployment).principals == (A,)


def test_a_host_of_an_operator_keeps_its_address_from_an_instance(deployment):
    deployment.admissions.admit(
        deployment.who("ann"), "blue", "gate", addresses=("10.0.0.5",), request_id="r"
    )
    boot(deployment, addresses=["10.0.0.5", "10.0.0.6"])
    ask(deployment)

    assert host(deployment, "gate").addresses == ("10.0.0.5",)
    assert host(deployment).addresses == ("10.0.0.6",)


def test_nobody_is_called_by_the_id_of_an_instance(deployment):
    with pytest.raises(Denied, match="id of an instance"):
        deployment.admissions.admit(deployment.who("ann"), "blue", "x", names=(A,), request_id="r")
    boot(deployment, B, name=A)
    ask(deployment, B)
    boot(deployment)
    ask(deployment)

    assert (host(deployment, B).names, host(deployment).id) == ((), A)


def test_the_cloud_changes_no_host_that_is_none_of_its_instances(deployment):
    deployment.admissions.admit(deployment.who("ann"), "blue", A, names=("mine",), request_id="r")
    boot(deployment, name="other")
    deployment.instances.refresh(A)
    deployment.instances.refresh(B)

    assert "mine" in host(deployment).names


def test_an_outage_takes_no_address(deployment):
    boot(deployment, addresses=["10.0.0.5"])
    ask(deployment)
    deployment.inventory.out = True

    with pytest.raises(Unavailable):
        deployment.instances.refresh(A)
    assert host(deployment).addresses == ("10.0.0.5",)


def test_a_holder_that_nobody_can_ask_about_keeps_no_address_from_its_new_instance(deployment):
    boot(deployment, addresses=["203.0.113.7", "10.0.0.5"])
    redeem(deployment, ask(deployment), Key())
    boot(deployment, B, name="web", addresses=["203.0.113.7"])
    deployment.inventory.silent = {A}
    ask(deployment, B)

    assert host(deployment, B).addresses == ("203.0.113.7",)
    assert (host(deployment).names[0], host(deployment).addresses) == ("db", ("10.0.0.5",))
    assert not live(deployment)


def test_a_holder_that_nobody_can_ask_about_keeps_its_name_and_another_is_admitted(deployment):
    boot(deployment)
    ask(deployment)
    boot(deployment, B)
    deployment.inventory.silent = {A}

    assert ask(deployment, B).token
    assert (host(deployment).names[0], host(deployment, B).names) == ("db", ())


# --- the original's wire


def test_the_token_of_the_originals_wire_tells_nothing_of_the_secret(deployment):
    boot(deployment)
    told = ask(deployment, legacy=True)
    token = deployment.admissions.legacy_token(told.admitted)

    assert told.admitted.legacy
    assert len(token) == 32
    assert token not in told.token.secret.hex()


def test_an_instance_that_both_wires_ask_for_keeps_one_epoch(deployment):
    boot(deployment)
    token = ask(deployment).token

    assert ask(deployment, legacy=True).token == token == ask(deployment).token
    assert host(deployment).legacy


def unproven(deployment, key, instance, project="blue"):
    """Enrol a key by the token of the original's wire."""
    found = ask(deployment, instance, project, legacy=True).admitted
    token = deployment.admissions.legacy_token(found)
    return deployment.enrolment.redeem_legacy(
        [instance], token, key.public, scope=None, request_id="r"
    )


@pytest.mark.parametrize("first", ["user", "host"])
def test_who_proves_nothing_keeps_no_other_project_from_a_key(deployment, first):
    deployment.assign("bob", "member", project="red")
    theirs, key = deployment.who("bob", "red"), Key()
    if first == "user":
        deployment.issuance.user_certificate(
            request("bob", "red"),
            theirs,
            "red",
            Wanted(subject_key=key.public),
            None,
            request_id="r",
        )
    else:
        boot(deployment, B, project="red")
        unproven(deployment, key, B, "red")
    boot(deployment)
    assert certificates(redeem(deployment, ask(deployment), key))

    other = "cccccccc-0000-4000-8000-000000000003"
    boot(deployment, other, name="late", project="red")
    with pytest.raises(Conflict, match=r"another host's|user key already"):
        unproven(deployment, key, other, "red")
    with pytest.raises(Denied, match="host key already"):
        deployment.issuance.user_certificate(
            request("bob", "red"),
            theirs,
            "red",
            Wanted(subject_key=key.public),
            None,
            request_id="r",
        )


def test_a_host_of_the_originals_wire_that_proves_its_key_later_has_it_for_good(deployment):
    boot(deployment)
    told, key = ask(deployment), Key()
    _, before = unproven(deployment, key, A)
    assert not before.proven

    redeem(deployment, told, key)
    (serial,) = live(deployment)
    assert deployment.ledger.certificates.get("blue", serial, scope=None).proven


def test_a_host_that_enrolled_is_not_opened_to_the_originals_wire(deployment):
    boot(deployment)
    redeem(deployment, ask(deployment), Key())

    assert ask(deployment, legacy=True).admitted is None
    assert not host(deployment).legacy
