"""Signing in by SSH key (security.md S7)."""

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import bearer
from tatu.core.audit import SYSTEM
from tatu.core.challenge import SignInPurpose
from tatu.core.errors import Malformed, Unauthenticated
from tatu.core.sshsig import Namespace
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import Assignment, UserKey
from tatu.service.audit import event
from tatu.service.signin import SignIn
from tests.fakes.deployment import Key

URL = "https://tatu.example"


class SignIns:
    """A deployment in which ann, an administrator, and bob have a key each."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.forgotten = []
        self.service = SignIn(
            ledger=deployment.ledger,
            verifier=CryptographyVerifier(),
            clock=deployment.clock,
            randomness=os.urandom,
            url=URL,
            hardware_keys_for_administrators=False,
            forget=self.forgotten.append,
        )
        self.keys = {user: Key() for user in ("ann", "bob")}
        for user, key in self.keys.items():
            added = UserKey(
                user=f"id-{user}", public_key=key.public, created_at=deployment.clock()
            )
            deployment.ledger.directory.add_key(added, deployment.event())

    def challenge(self, user, key, project="blue", purpose=SignInPurpose.LOGIN):
        return self.service.challenge(
            user=user, project=project, public_key=key.public, purpose=purpose
        )

    def sign_in(self, user, key=None, **parts):
        key = key or self.keys[user]
        challenge = self.challenge(user, key, **parts)
        signature = key.sign(Namespace.LOGIN, challenge.message)
        return self.service.redeem(challenge.id, signature, request_id="r")


@pytest.fixture
def sign_ins(deployment):
    return SignIns(deployment)


def refusal(action):
    with pytest.raises(Unauthenticated) as raised:
        action()
    return str(raised.value)


def test_a_user_signs_in_with_an_enrolled_key(sign_ins):
    signed_in = sign_ins.sign_in("ann")
    identity = signed_in.identity
    assert (
        identity.issuer,
        identity.subject,
        identity.name,
        identity.project,
    ) == ("local", "id-ann", "ann", "blue")
    assert "admin" in identity.role_names
    assert timedelta(hours=1) == identity.expires_at - identity.validated_at
    assert not identity.fresh
    token = bearer.from_header(f"Bearer {signed_in.token}")
    kept = sign_ins.deployment.ledger.sign_ins.token(
        bearer.digest(token), sign_ins.deployment.clock()
    )
    assert sign_ins.keys["ann"].public.fingerprint == kept.key


def test_a_user_and_a_project_may_be_named_by_id_or_by_name(sign_ins):
    assert sign_ins.sign_in("id-ann", sign_ins.keys["ann"], project="Blue").identity.name == "ann"


def test_who_administers_has_a_minute(sign_ins):
    identity = sign_ins.sign_in("ann", purpose=SignInPurpose.ADMINISTER).identity
    assert identity.fresh
    assert timedelta(seconds=60) == identity.expires_at - identity.validated_at


def test_neither_repr_nor_the_ledger_has_the_token(sign_ins):
    signed_in = sign_ins.sign_in("ann")
    assert signed_in.token not in repr(signed_in)
    for link in sign_ins.deployment.ledger.audit.read(after=0, limit=1000):
        assert signed_in.token not in link.body


def test_every_refusal_reads_the_same(sign_ins):
    deployment, stranger = sign_ins.deployment, Key()
    told = {
        refusal(lambda: sign_ins.sign_in("nobody", stranger)),
        refusal(lambda: sign_ins.sign_in("ann", stranger)),
        refusal(lambda: sign_ins.sign_in("ann", sign_ins.keys["bob"])),
        refusal(lambda: sign_ins.sign_in("nobody", sign_ins.keys["bob"])),
        refusal(lambda: sign_ins.sign_in("bob", project="nowhere")),
        refusal(lambda: sign_ins.sign_in("bob", project="red")),
    }
    deployment.ledger.directory.enable_user("id-bob", deployment.event(), enabled=False)
    told.add(refusal(lambda: sign_ins.sign_in("bob")))
    deployment.ledger.directory.enable_project("blue", deployment.event(), enabled=False)
    told.add(refusal(lambda: sign_ins.sign_in("ann")))
    assert len(told) == 1


def test_a_challenge_looks_the_same_for_those_who_do_not_exist(sign_ins):
    real, unreal = sign_ins.challenge("ann", Key()), sign_ins.challenge("nobody", Key())
    for challenge in (real, unreal):
        assert (len(challenge.id), len(challenge.nonce)) == (22, 43)
        assert challenge.deployment == URL
    assert real.nonce != unreal.nonce


def test_a_challenge_is_redeemed_once_even_when_it_failed(sign_ins):
    key = sign_ins.keys["ann"]
    challenge = sign_ins.challenge("ann", key)
    right = key.sign(Namespace.LOGIN, challenge.message)
    wrong = key.sign(Namespace.LOGIN, challenge.message + b" ")
    refusal(lambda: sign_ins.service.redeem(challenge.id, wrong, request_id="r"))
    refusal(lambda: sign_ins.service.redeem(challenge.id, right, request_id="r"))


def test_a_challenge_ends_after_a_minute(sign_ins):
    key = sign_ins.keys["ann"]
    challenge = sign_ins.challenge("ann", key)
    sign_ins.deployment.clock.forward(seconds=60)
    signature = key.sign(Namespace.LOGIN, challenge.message)
    refusal(lambda: sign_ins.service.redeem(challenge.id, signature, request_id="r"))


@pytest.mark.parametrize("namespace", [name for name in Namespace if name is not Namespace.LOGIN])
def test_a_signature_for_another_purpose_signs_nobody_in(sign_ins, namespace):
    key = sign_ins.keys["ann"]
    challenge = sign_ins.challenge("ann", key)
    signature = key.sign(namespace, challenge.message)
    refusal(lambda: sign_ins.service.redeem(challenge.id, signature, request_id="r"))


def test_a_challenge_for_one_key_is_not_redeemed_by_another(sign_ins):
    challenge = sign_ins.challenge("ann", sign_ins.keys["bob"])
    signature = sign_ins.keys["ann"].sign(Namespace.LOGIN, challenge.message)
    refusal(lambda: sign_ins.service.redeem(challenge.id, signature, request_id="r"))


def test_the_signature_covers_deployment_purpose_user_and_project(sign_ins):
    key = sign_ins.keys["ann"]
    for change in (
        {"deployment": "https://other.example"},
        {"purpose": SignInPurpose.ADMINISTER},
        {"user": "bob"},
        {"project": "red"},
        {"nonce": "x"},
    ):
        challenge = sign_ins.challenge("ann", key)
        signature = key.sign(Namespace.LOGIN, replace(challenge, **change).message)
        with pytest.raises(Unauthenticated):
            sign_ins.service.redeem(challenge.id, signature, request_id="r")


def test_what_is_no_signature_is_malformed(sign_ins):
    challenge = sign_ins.challenge("ann", sign_ins.keys["ann"])
    with pytest.raises(Malformed):
        sign_ins.service.redeem(challenge.id, "nothing", request_id="r")


def test_administrators_may_be_held_to_security_keys_others_not(sign_ins):
    sign_ins.service = replace(sign_ins.service, hardware_keys_for_administrators=True)
    for purpose in SignInPurpose:
        assert "security key" in refusal(lambda p=purpose: sign_ins.sign_in("ann", purpose=p))
        assert "security key" not in refusal(
            lambda p=purpose: sign_ins.sign_in("ann", sign_ins.keys["bob"], purpose=p)
        )
    sign_ins.sign_in("bob", purpose=SignInPurpose.ADMINISTER)


def test_an_administrators_software_key_administers_from_no_other_project(sign_ins):
    sign_ins.service = replace(sign_ins.service, hardware_keys_for_administrators=True)
    sign_ins.deployment.assign("ann", "member", project="red")
    refused = refusal(
        lambda: sign_ins.sign_in("ann", project="red", purpose=SignInPurpose.ADMINISTER)
    )
    assert "security key" in refused
    assert not sign_ins.sign_in("ann", project="red").identity.fresh


def test_a_loss_while_signing_in_is_after_the_mark(sign_ins):
    identity = sign_ins.sign_in("bob").identity
    sign_ins.deployment.ledger.directory.unassign(
        Assignment(project="blue", role="id-member", user="id-bob"),
        event("test", by=SYSTEM, at=sign_ins.deployment.clock(), subject="x"),
    )
    assert identity.mark < sign_ins.deployment.ledger.cut_offs.mark()


def test_a_token_that_was_ended_is_gone_and_forgotten(sign_ins):
    signed_in = sign_ins.sign_in("ann")
    sign_ins.service.end(signed_in.identity, signed_in.token, request_id="r")
    digest = bearer.digest(signed_in.token)
    assert [digest] == sign_ins.forgotten
    with pytest.raises(Unauthenticated):
        sign_ins.deployment.ledger.sign_ins.token(digest, sign_ins.deployment.clock())
    sign_ins.service.end(signed_in.identity, signed_in.token, request_id="r")


def test_a_refused_sign_in_with_somebodys_key_is_in_the_audit_chain(sign_ins):
    refusal(lambda: sign_ins.sign_in("ann", sign_ins.keys["bob"]))
    last = sign_ins.deployment.ledger.audit.read(after=0, limit=1000)[-1]
    assert "sign-in.refused" in last.body
    assert sign_ins.keys["bob"].public.fingerprint in last.body


def test_strangers_write_nothing_into_the_audit_chain(sign_ins):
    before = sign_ins.deployment.ledger.audit.head()
    refusal(lambda: sign_ins.sign_in("ann", Key()))
    assert before == sign_ins.deployment.ledger.audit.head()
