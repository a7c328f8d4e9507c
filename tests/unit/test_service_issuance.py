"""Issuing user certificates (docs/issuance.md)."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import lint, losses
from tatu.core.audit import SYSTEM
from tatu.core.authority import KeyState, Purpose
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import (
    Denied,
    Malformed,
    NotFound,
    PermissionEnded,
    TatuError,
    Unauthenticated,
    Unavailable,
)
from tatu.core.sshsig import Namespace
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import CertificateFilter, Held, RevocationSelector
from tatu.service.audit import event
from tatu.service.issuance import ATTEMPTS, PATIENCE
from tests.fakes.deployment import Key
from tests.fakes.identities import request


def events(deployment, action):
    found = []
    for link in deployment.ledger.audit.read(after=0, limit=10_000):
        body = json.loads(link.body)
        if body["action"] == action:
            found.append(body)
    return found


def issued(deployment):
    everything = CertificateFilter(authorities=None)
    return deployment.ledger.certificates.list(everything, limit=1000, marker=None).items


def ask(deployment, identity, wanted, proof, authority="blue"):
    return deployment.issuance.user_certificate(
        request("ann", "blue"), identity, authority, wanted, proof, request_id="r"
    )


def test_what_is_answered_is_what_the_ledger_holds_byte_for_byte(deployment):
    answer = deployment.issue("ann").certificate

    assert answer == deployment.ledger.certificates.get("blue", answer.serial, scope=None)


def test_the_certificate_says_what_was_granted_and_its_signature_verifies(deployment):
    key = Key()
    answer = deployment.issue("ann", key, validity=timedelta(hours=1)).certificate
    certificate = Certificate.parse(answer.line)
    contents = certificate.contents
    authority = deployment.authorities.show("blue")

    assert contents.subject_key == key.public
    assert contents.type is CertificateType.USER
    assert contents.principals == ("admin", "member")
    assert contents.key_id == f"ann_{answer.serial}"
    assert contents.valid_before - contents.valid_after == timedelta(hours=1, minutes=5)
    assert contents.signature_key == authority.active(Purpose.USER).public_key
    assert len(contents.nonce) == 32
    assert lint.findings(certificate, deployment.limits) == ()
    CryptographyVerifier().verify(
        contents.signature_key, certificate.signature, contents.to_be_signed
    )


def test_a_role_that_opens_no_account_is_shown_and_audited(deployment):
    answer = deployment.issue("ann")

    assert [out.role.name for out in answer.left_out] == ["reader"]
    (told,) = events(deployment, "certificate.issued")
    assert told["facts"]["left_out"] == [
        {"role": "reader", "reason": "this role opens no account"}
    ]
    assert told["facts"]["certificate"]["serial"] == answer.certificate.serial
    assert told["actor"]["id"] == "id-ann"


def test_serials_are_dense_and_no_two_nonces_are_alike(deployment):
    answers = [deployment.issue("ann").certificate for _ in range(5)]
    serials = [answer.serial for answer in answers]

    assert serials == list(range(serials[0], serials[0] + 5))
    assert len({Certificate.parse(answer.line).contents.nonce for answer in answers}) == 5


def test_an_authority_that_is_not_there_is_not_found(deployment):
    ann = deployment.who("ann")
    with pytest.raises(NotFound):
        ask(deployment, ann, *deployment.wanted(ann, Key(), "green"), authority="green")


def test_a_denial_is_audited_with_who_and_why(deployment):
    with pytest.raises(Denied):
        deployment.issue("bob", principals=frozenset({"admin"}))

    (told,) = events(deployment, "certificate.denied")
    assert told["actor"]["name"] == "bob"
    assert "'admin'" in told["facts"]["reason"]
    assert issued(deployment) == ()


# --- proof of possession (S6)


def proofs(deployment, ann, key):
    wanted, _ = deployment.wanted(ann, key)
    other = replace(wanted, validity=timedelta(hours=1))
    bob = deployment.who("bob")

    def sign(
        key,
        *,
        namespace=Namespace.SUBJECT,
        wanted=wanted,
        deployment_id=None,
        authority="blue",
        who=ann,
    ):
        return key.sign(
            namespace,
            wanted.proof_message(
                deployment=deployment_id or deployment.id, authority=authority, subject=who.subject
            ),
        )

    return {
        "another key": sign(Key()),
        "another purpose": sign(key, namespace=Namespace.LOGIN),
        "another request": sign(key, wanted=other),
        "another deployment": sign(key, deployment_id="elsewhere"),
        "another authority": sign(key, authority="red"),
        "another user": sign(key, who=bob),
        "another message": key.sign(Namespace.SUBJECT, b""),
    }


@pytest.mark.parametrize(
    "which",
    [
        "another key",
        "another purpose",
        "another request",
        "another deployment",
        "another authority",
        "another user",
        "another message",
    ],
)
def test_a_proof_by_or_for_something_else_proves_nothing(deployment, which):
    ann, key = deployment.who("ann"), Key()
    wanted, _ = deployment.wanted(ann, key)

    with pytest.raises(Denied):
        ask(deployment, ann, wanted, proofs(deployment, ann, key)[which])
    assert issued(deployment) == ()


@pytest.mark.parametrize(
    "proof", ["", "x", "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"]
)
def test_what_is_no_signature_is_malformed(deployment, proof):
    ann = deployment.who("ann")
    wanted, _ = deployment.wanted(ann, Key())

    with pytest.raises(Malformed):
        ask(deployment, ann, wanted, proof)


# --- one key, one purpose (S1)


def test_a_sign_in_key_is_never_certified(deployment):
    key = Key()
    deployment.administration.add_key(deployment.who("ann"), "id-bob", key.public, request_id="r")

    with pytest.raises(Denied, match="sign-in key already"):
        deployment.issue("ann", key)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_an_authoritys_key_is_never_certified(deployment, purpose):
    key = Key()
    reference = deployment.authorities.show("red").active(purpose).reference
    key._signer = deployment.keystore.signers[reference]
    key.public = key._signer.public_key

    with pytest.raises(Denied, match="authority key already"):
        deployment.issue("ann", key)


def test_the_same_subject_key_is_certified_again(deployment):
    key = Key()

    assert (
        deployment.issue("ann", key).certificate.serial
        < deployment.issue("ann", key).certificate.serial
    )


# --- blocks


def test_a_blocked_user_gets_nothing_until_an_administrator_clears_the_block(deployment):
    admin = deployment.who("ann")
    selector = RevocationSelector(authority="blue", subject="id-bob", block=True)
    deployment.revocation.revoke(admin, selector, "left", request_id="r")

    with pytest.raises(Denied, match="blocked"):
        deployment.issue("bob")
    deployment.issue("ann")

    (block,) = deployment.ledger.revocations.blocks("blue")
    deployment.revocation.clear_block(admin, "blue", block.id, request_id="r")
    deployment.issue("bob")


def test_a_blocked_subject_key_is_certified_for_nobody(deployment):
    key = Key()
    selector = RevocationSelector(authority="blue", subject_key=key.public.fingerprint, block=True)
    deployment.issue("bob", key)
    deployment.revocation.revoke(deployment.who("ann"), selector, "stolen", request_id="r")

    for user in ("ann", "bob"):
        with pytest.raises(Denied, match="blocked"):
            deployment.issue(user, key)


# --- losses (S4)


def test_a_role_lost_after_sign_in_is_not_in_the_certificate(deployment):
    ann, key = deployment.who("ann"), Key()
    lose_role(deployment, "ann", "admin")

    wanted, proof = deployment.wanted(ann, key)
    answer = ask(deployment, ann, wanted, proof)

    assert answer.certificate.principals == ("member",)


def lose_role(deployment, user, role):
    deployment.ledger.directory.unassign(
        next(
            held
            for held in deployment.ledger.directory.assignments(
                project="blue", user=f"id-{user}", group=None
            )
            if held.role == f"id-{role}"
        ),
        deployment.event(),
    )


def test_a_user_disabled_after_sign_in_gets_nothing(deployment):
    ann = deployment.who("ann")
    deployment.ledger.directory.enable_user("id-ann", deployment.event(), enabled=False)

    with pytest.raises(Unauthenticated):
        ask(deployment, ann, *deployment.wanted(ann, Key()))
    assert issued(deployment) == ()
    (told,) = events(deployment, "certificate.denied")
    assert told["actor"]["id"] == "id-ann"


def test_losses_that_never_stop_end_in_a_denial(deployment):
    ann = deployment.who("ann")
    stale = replace(ann, mark=ann.mark)
    deployment.identities.authenticate = lambda request, cached=True: stale
    deployment.ledger.cut_offs.commit([losses.user("id-ann")], "test", deployment.event())

    with pytest.raises(PermissionEnded):
        ask(deployment, ann, *deployment.wanted(ann, Key()))
    assert len(events(deployment, "certificate.denied")) == 1


def lose_at_each_record(deployment, times, topic):
    """Have a cut-off committed just before each of the next certificates is recorded."""
    certificates, left = deployment.ledger.certificates, [times]
    real = certificates.record

    def record(*args):
        if left[0]:
            left[0] -= 1
            deployment.ledger.cut_offs.commit([topic], "test", deployment.event())
        return real(*args)

    certificates.record = record


def test_losses_that_follow_one_another_do_not_stop_issuance(deployment):
    lose_at_each_record(deployment, ATTEMPTS - 1, losses.everyone())
    assert deployment.issue("ann").certificate.subject == "id-ann"


def test_whom_losses_meet_each_time_is_denied_after_some_attempts(deployment):
    lose_at_each_record(deployment, 100, losses.everyone())
    asked = deployment.identities.asked
    with pytest.raises(PermissionEnded):
        deployment.issue("ann")
    assert deployment.identities.asked == asked + ATTEMPTS
    assert len(events(deployment, "certificate.denied")) == 1


def test_nobody_is_decided_about_anew_for_long(deployment):
    lose_at_each_record(deployment, 100, losses.everyone())
    real = deployment.identities.authenticate

    def slowly(*args, **kwargs):
        deployment.clock.now += PATIENCE
        return real(*args, **kwargs)

    ann = deployment.who("ann")
    deployment.identities.authenticate = slowly
    asked = deployment.identities.asked
    with pytest.raises(PermissionEnded):
        ask(deployment, ann, *deployment.wanted(ann, Key()))
    assert deployment.identities.asked == asked + 1


def test_a_loss_of_somebody_else_is_no_reason_to_ask_again(deployment):
    ann = deployment.who("ann")
    deployment.ledger.cut_offs.commit([losses.user("id-bob")], "test", deployment.event())
    asked = deployment.identities.asked

    ask(deployment, ann, *deployment.wanted(ann, Key()))

    assert asked == deployment.identities.asked


def test_a_token_that_became_anothers_is_refused(deployment):
    ann, bob = deployment.who("ann"), deployment.who("bob")
    deployment.identities.authenticate = lambda request, cached=True: bob
    deployment.ledger.cut_offs.commit([losses.user("id-ann")], "test", deployment.event())

    with pytest.raises(Unauthenticated, match="another"):
        ask(deployment, ann, *deployment.wanted(ann, Key()))


def test_a_key_that_was_replaced_signs_no_more(deployment):
    ann = deployment.who("ann")
    deployment.issue("ann")  # the snapshot is cached now
    old = deployment.authorities.show("blue").active(Purpose.USER).public_key
    deployment.authorities.add_key(ann, "blue", Purpose.USER, request_id="r")
    new = next(k for k in deployment.authorities.show("blue").keys if k.state is KeyState.NEXT)
    deployment.authorities.change_key(
        ann, "blue", new.public_key.fingerprint, KeyState.ACTIVE, at_once=True, request_id="r"
    )

    signed = Certificate.parse(deployment.issue("ann").certificate.line).contents.signature_key
    assert signed == new.public_key != old


# --- outages


def test_without_the_key_store_nothing_is_issued_and_it_says_so(deployment):
    deployment.keystore.out = True

    with pytest.raises(Unavailable, match="key store"):
        deployment.issue("ann")
    assert issued(deployment) == ()


# --- batches


def test_each_item_of_a_batch_stands_for_itself(deployment):
    ann = deployment.who("ann")
    good = [deployment.wanted(ann, Key()) for _ in range(20)]
    bad_wanted, _ = deployment.wanted(ann, Key())
    items = [*good[:10], (bad_wanted, good[0][1]), *good[10:]]

    found = deployment.issuance.batch(request("ann", "blue"), ann, "blue", items, request_id="r")

    assert [isinstance(one, TatuError) for one in found] == [at == 10 for at in range(21)]
    assert isinstance(found[10], Denied)
    for one, (wanted, _) in zip(found[:10], good[:10], strict=True):
        assert one.certificate.subject_key == wanted.subject_key.fingerprint
    assert {one.certificate.serial for one in found if not isinstance(one, TatuError)} == {
        one.serial for one in issued(deployment)
    }


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_of_none_or_too_many_is_refused(deployment, count):
    ann = deployment.who("ann")
    items = [deployment.wanted(ann, Key())] * count

    with pytest.raises(Malformed, match="1 to 100"):
        deployment.issuance.batch(request("ann", "blue"), ann, "blue", items, request_id="r")


def test_what_the_token_was_got_by_is_in_the_ledger_and_ends_the_certificate(deployment):
    origin, end = "application-credential:7", deployment.clock() + timedelta(minutes=10)
    identity = replace(deployment.who("ann"), origin=origin, ends_by=end)
    wanted, proof = deployment.wanted(identity, Key())
    answer = ask(deployment, identity, wanted, proof).certificate

    assert answer.origin == origin
    assert answer.valid_before == end.replace(microsecond=0)
    assert [answer] == [found for found in issued(deployment) if found.origin == origin]


def test_a_certificate_got_by_something_else_does_not_stand_for_a_new_one(deployment):
    key = Key()
    identity = replace(deployment.who("ann"), origin="application-credential:7")
    answer = ask(deployment, identity, *deployment.wanted(identity, key)).certificate

    assert answer == deployment.issuance.standing(identity, "blue", key.public)
    assert deployment.issuance.standing(replace(identity, origin=""), "blue", key.public) is None


def test_while_a_users_loss_is_held_they_get_no_certificate(deployment):
    held = Held(authority="blue", kind="user", value="id-ann", since=deployment.clock())
    loss = event("test", by=SYSTEM, at=deployment.clock(), subject="id-ann")
    deployment.ledger.holds.hold([held], loss)
    with pytest.raises(Denied, match="are being checked"):
        deployment.issue("ann")
    deployment.issue("bob")

    deployment.ledger.holds.release([held], loss)
    deployment.issue("ann")
