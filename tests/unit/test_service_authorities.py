"""Authorities and the lives of their keys (S1), and the checkpoints of the chain (S23)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import audit
from tatu.core.authority import KeyAlgorithm, KeyState, Profile, Purpose
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unavailable
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tests.fakes.keystore import FakeKeyStore
from tests.fakes.threads import together
from tests.unit.test_service_issuance import events


def add(deployment, purpose=Purpose.USER):
    found = deployment.authorities.add_key(deployment.who("ann"), "blue", purpose, request_id="r")
    return next(key for key in found.keys if key.state is KeyState.NEXT)


def change(deployment, key, state, **parts):
    parts = {"at_once": state is KeyState.ACTIVE, **parts}
    return deployment.authorities.change_key(
        deployment.who("ann"), "blue", key.public_key.fingerprint, state, request_id="r", **parts
    )


def profile(deployment, authority="blue", **parts):
    changed = replace(deployment.authorities.show(authority).profile, **parts)
    return deployment.authorities.change_profile(
        deployment.who("ann"), authority, changed, request_id="r"
    ).profile


def test_a_new_authority_has_three_keys_a_suffix_and_a_statement(deployment):
    found = deployment.authority("Green")

    assert {key.purpose for key in found.keys} == set(Purpose)
    assert {key.state for key in found.keys} == {KeyState.ACTIVE}
    assert len({key.public_key for key in found.keys}) == 3
    assert found.profile.dns_suffix == "green.example"
    assert deployment.ledger.publications.newest("Green") is not None
    assert events(deployment, "authority.created")[-1]["actor"]["name"] == "ann"


def test_each_purpose_has_the_algorithm_that_is_configured(deployment):
    algorithms = {
        Purpose.USER: KeyAlgorithm.ECDSA_P256,
        Purpose.HOST: KeyAlgorithm.ECDSA_P384,
        Purpose.STATEMENT: KeyAlgorithm.ED25519,
    }
    defaults = replace(deployment.authorities.defaults, algorithms=algorithms)
    deployment.authorities = replace(deployment.authorities, defaults=defaults)
    found = deployment.authority("green")

    assert [found.active(purpose).public_key.algorithm for purpose in Purpose] == [
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ssh-ed25519",
    ]


def test_a_project_has_one_authority_and_no_key_is_left_behind(deployment):
    keys = set(deployment.keystore.signers)

    with pytest.raises(Conflict, match="'blue' has an authority already"):
        deployment.authority("blue")
    assert keys == set(deployment.keystore.signers)


def test_of_two_who_make_an_authority_at_once_one_does_and_no_key_is_left_behind(deployment):
    keys = len(deployment.keystore.signers)

    def one(_):
        try:
            return deployment.authority("green")
        except Conflict:
            return None

    assert [found is None for found in together(4, one)].count(False) == 1
    assert len(deployment.keystore.signers) == keys + 3


def test_a_projects_name_becomes_a_label_of_its_suffix(deployment):
    found = deployment.authorities.create(
        deployment.who("ann"), "p1", "Größe & Co.", request_id="r"
    )

    assert found.profile.dns_suffix == "gr-e-co.example"


@pytest.mark.parametrize("name", ["web", "w" * 63])
def test_a_second_project_of_a_name_has_part_of_its_id_in_its_suffix(deployment, name):
    def made(project):
        return deployment.authorities.create(
            deployment.who("ann"), project, name, request_id="r"
        ).profile.dns_suffix

    assert made("0123456789abcdef0123456789abcdef") == f"{name}.example"
    assert made("fedcba9876543210fedcba9876543210") == f"{name[:54]}-fedcba98.example"


@pytest.mark.parametrize("project", ["", "a/b", "a b", "../x", "é", "a" * 65, "-a", "a\n"])
def test_an_id_that_cannot_stand_in_a_url_is_refused(deployment, project):
    with pytest.raises(Malformed):
        deployment.authorities.create(deployment.who("ann"), project, "x", request_id="r")


def test_without_the_key_store_there_is_no_authority(deployment):
    deployment.keystore.out = True
    with pytest.raises(Unavailable):
        deployment.authority("green")
    with pytest.raises(NotFound):
        deployment.authorities.show("green")


class Stubborn(FakeKeyStore):
    """Makes two keys and then no more, and may refuse to delete."""

    def __init__(self, *, deletes):
        super().__init__()
        self.left, self.deletes = 2, deletes

    def create(self, algorithm):
        if not self.left:
            raise Unavailable("no third key")
        self.left -= 1
        return super().create(algorithm)

    def delete(self, reference):
        if not self.deletes:
            raise Unavailable("no key is deleted")
        super().delete(reference)


@pytest.mark.parametrize("deletes", [True, False])
def test_an_authority_that_lacks_a_key_leaves_none_behind_and_says_what_failed_first(
    deployment, deletes
):
    keystore = Stubborn(deletes=deletes)
    deployment.authorities = replace(deployment.authorities, keystore=keystore)
    with pytest.raises(Unavailable, match="no third key"):
        deployment.authority("green")
    assert len(keystore.signers) == (0 if deletes else 2)


def test_keys_that_the_ledger_may_have_taken_are_kept(deployment, monkeypatch):
    """It may have committed and failed to say so."""

    def cut_off(_, authority, event):
        raise Unavailable("the connection is lost")

    monkeypatch.setattr(type(deployment.ledger.authorities), "create", cut_off)
    keys = len(deployment.keystore.signers)
    with pytest.raises(Unavailable, match="connection is lost"):
        deployment.authority("green")
    assert len(deployment.keystore.signers) == keys + 3


# --- keys


def test_a_key_is_next_then_active_then_retired_and_one_at_a_time(deployment):
    first = deployment.authorities.show("blue").active(Purpose.USER)
    second = add(deployment)
    with pytest.raises(Conflict, match="next user key already"):
        add(deployment)

    found = change(deployment, second, KeyState.ACTIVE)
    assert found.active(Purpose.USER).public_key == second.public_key
    assert [k.state for k in found.keys if k.public_key == first.public_key] == [KeyState.RETIRED]
    with pytest.raises(Conflict):
        change(deployment, first, KeyState.ACTIVE)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_key_signs_only_when_hosts_have_had_the_time_to_learn_of_it(deployment, purpose):
    key = add(deployment, purpose)
    with pytest.raises(Conflict, match=r"wait 1[12]\d\d seconds"):
        change(deployment, key, KeyState.ACTIVE, at_once=False)
    deployment.clock.forward(minutes=19)
    with pytest.raises(Conflict, match=r"wait \d\d seconds"):
        change(deployment, key, KeyState.ACTIVE, at_once=False)
    deployment.clock.forward(minutes=1)
    found = change(deployment, key, KeyState.ACTIVE, at_once=False)
    assert found.active(purpose).public_key == key.public_key


def lost(reference):
    raise NotFound(f"there is no key {reference!r}")


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_key_that_no_statement_told_of_is_new_however_old_it_is(deployment, purpose):
    signer = deployment.keystore.signer
    deployment.keystore.signer = lost
    key = add(deployment, purpose)
    deployment.keystore.signer = signer
    deployment.clock.forward(hours=10)
    with pytest.raises(Conflict, match="wait 1200 seconds"):
        change(deployment, key, KeyState.ACTIVE, at_once=False)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_key_that_signs_at_once_says_so_in_the_audit_chain(deployment, purpose):
    second = add(deployment, purpose)
    found = change(deployment, second, KeyState.ACTIVE, at_once=True)
    assert found.active(purpose).public_key == second.public_key
    assert events(deployment, "authority.key-active")[-1]["facts"]["at_once"]


@pytest.mark.parametrize("revoked", [False, True])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_active_key_goes_only_when_its_successor_signs(deployment, purpose, revoked):
    key = deployment.authorities.show("blue").active(purpose)

    with pytest.raises(Conflict, match="add a key and make it active first"):
        change(deployment, key, KeyState.RETIRED, revoked=revoked)
    assert deployment.authorities.show("blue").active(purpose) == key


def test_of_two_who_add_a_key_at_once_one_does_and_no_key_is_left_behind(deployment):
    keys = len(deployment.keystore.signers)

    def one(_):
        try:
            return add(deployment)
        except Conflict:
            return None

    assert [found is None for found in together(3, one)].count(False) == 1
    assert len(deployment.keystore.signers) == keys + 1


def test_a_next_key_may_be_discarded(deployment):
    key = add(deployment)
    change(deployment, key, KeyState.RETIRED)

    with pytest.raises(Conflict):
        change(deployment, key, KeyState.ACTIVE)
    add(deployment)


def test_a_step_that_makes_no_sense_is_refused(deployment):
    key = add(deployment)
    for state, revoked in ((KeyState.NEXT, False), (KeyState.ACTIVE, True)):
        with pytest.raises(Malformed):
            change(deployment, key, state, revoked=revoked)
    with pytest.raises(NotFound):
        deployment.authorities.change_key(
            deployment.who("ann"),
            "red",
            key.public_key.fingerprint,
            KeyState.ACTIVE,
            request_id="r",
        )


def test_hosts_are_never_given_more_keys_than_they_take(deployment):
    for _ in range(7):
        change(deployment, add(deployment), KeyState.ACTIVE)
    with pytest.raises(Conflict, match="8 user keys already"):
        add(deployment)

    deployment.statements.newest("blue")
    deployment.clock.forward(hours=73)
    add(deployment)


def test_changes_of_keys_are_audited(deployment):
    key = add(deployment)
    change(deployment, key, KeyState.ACTIVE)

    told = [
        *events(deployment, "authority.key-added"),
        *events(deployment, "authority.key-active"),
    ]
    assert [one["subject"] for one in told] == [key.public_key.fingerprint] * 2


# --- profiles


def test_a_changed_profile_holds_for_the_next_certificate(deployment):
    deployment.issue("ann")
    profile(deployment, user_validity=timedelta(hours=1), max_user_validity=timedelta(hours=2))

    found = deployment.issue("ann").certificate
    assert found.valid_before - found.valid_after == timedelta(hours=1, minutes=5)
    with pytest.raises(Denied):
        deployment.issue("ann", validity=timedelta(hours=3))


@pytest.mark.parametrize(
    "parts",
    [
        {"host_validity": timedelta(days=31)},
        {"user_validity": timedelta(hours=25)},
        {"user_validity": timedelta()},
        {"max_user_validity": timedelta(days=400)},
        {"host_validity": timedelta(seconds=0.5)},
        {"extensions": frozenset({"permit-agent-forwarding"})},
        {"extensions": frozenset({"no-touch-required"})},
        {"source_addresses": ("10.0.0.1/8",)},
        {"source_addresses": ("10.0.0.1,10.0.0.2",)},
        {"dns_suffix": "*"},
        {"dns_suffix": "com"},
        {"dns_suffix": "Blue.example"},
        {"dns_suffix": "10.0.0.1"},
        {"dns_suffix": ".blue.example"},
    ],
)
def test_a_profile_that_could_not_be_issued_by_is_refused(deployment, parts):
    with pytest.raises(Malformed):
        profile(deployment, **parts)


@pytest.mark.parametrize("suffix", ["red.example", "db.red.example", "example.example"])
def test_two_authorities_never_speak_for_the_same_names(deployment, suffix):
    profile(deployment, "red", dns_suffix="red.example")
    if suffix == "example.example":
        profile(deployment, "red", dns_suffix="db.example.example")

    with pytest.raises(Conflict, match="overlaps"):
        profile(deployment, dns_suffix=suffix)


def test_a_suffix_that_only_looks_alike_is_no_overlap(deployment):
    assert profile(deployment, dns_suffix="infrared.example").dns_suffix == "infrared.example"
    assert profile(deployment, dns_suffix="").dns_suffix == ""


def test_authorities_are_listed_within_the_callers_scope(deployment):
    everything = deployment.authorities.list(only=None, limit=10, marker=None)
    mine = deployment.authorities.list(only=("blue",), limit=10, marker=None)

    assert [found.id for found in everything.items] == ["blue", "red"]
    assert [found.id for found in mine.items] == ["blue"]


def test_the_default_profile_is_one_that_may_be(deployment):
    assert deployment.authorities._checked("x", Profile()) == Profile()


# --- checkpoints


def test_a_checkpoint_says_how_the_chain_stands_and_its_signature_verifies(deployment):
    deployment.issue("ann")
    found = deployment.checkpoints.sign()
    links = deployment.ledger.audit.read(after=0, limit=100_000)

    assert (found.checkpoint.sequence, found.checkpoint.hash) == audit.check(links)
    assert found.checkpoint.deployment == deployment.id
    signature = SshSignature.parse(found.signature)
    assert signature.public_key == PublicKey.parse(found.public_key)
    CryptographyVerifier().verify(
        signature.public_key,
        signature.signature,
        signature.signed_bytes(Namespace.CHECKPOINT, found.checkpoint.encoded),
    )


def test_all_checkpoints_are_signed_by_one_key_also_when_the_first_are_made_at_once(deployment):
    keys = len(deployment.keystore.signers)
    found = {signed.public_key for signed in together(4, lambda _: deployment.checkpoints.sign())}

    assert found == {deployment.checkpoints.sign().public_key}
    assert len(deployment.keystore.signers) == keys + 1
