"""Enrolment: a machine proves itself once (S8, S11)."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import enrolment, lint, statement
from tatu.core.authority import KeyAlgorithm, KeyState, Purpose
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, PermissionEnded, Unavailable
from tatu.core.sshsig import Namespace
from tatu.ports import Assignment, CertificateFilter, Held, RevocationSelector
from tatu.service.enrolment import Redemption, Unproven
from tests.fakes.deployment import Key
from tests.fakes.threads import together
from tests.unit.test_service_issuance import events
from tests.vectors.keys import SK_ED25519


def admit(deployment, host="db", **parts):
    return deployment.admissions.admit(
        deployment.who("ann"), "blue", host, request_id="r", **parts
    )


def redemption(
    deployment, admission, keys, *, nonce="0" * 64, secret=None, signers=None, **changed
):
    facts = {
        "authority": admission.token.authority,
        "host": admission.token.host,
        "nonce": nonce,
        "host_keys": tuple(key.public for key in keys),
        **changed,
    }
    message = enrolment.message(deployment=deployment.id, **facts)
    return Redemption(
        **facts,
        mac=enrolment.request_mac(secret or admission.token.secret, message),
        signatures=tuple(key.sign(Namespace.ENROL, message) for key in signers or keys),
    )


def redeem(deployment, admission, *keys, **parts):
    return deployment.enrolment.redeem(
        redemption(deployment, admission, keys, **parts), request_id="r"
    )


def certificates(answer):
    return [Certificate.parse(line) for line in json.loads(answer.text)["certificates"]]


def live(deployment):
    wanted = CertificateFilter(
        authorities=None,
        type=CertificateType.HOST,
        live_at=deployment.clock(),
        revoked=False,
    )
    return {
        c.serial for c in deployment.ledger.certificates.list(wanted, limit=99, marker=None).items
    }


def test_a_host_gets_a_certificate_for_each_of_its_keys(deployment):
    keys = [Key(), Key(KeyAlgorithm.ECDSA_P256)]
    admission = admit(deployment, names=("db", "www"), addresses=("10.0.0.1",))
    found = certificates(redeem(deployment, admission, *keys))

    assert [c.contents.subject_key for c in found] == [key.public for key in keys]
    for certificate in found:
        contents = certificate.contents
        assert contents.type is CertificateType.HOST
        assert contents.principals == (
            "db",
            "db.blue.example",
            "www",
            "www.blue.example",
            "10.0.0.1",
        )
        assert contents.key_id == f"host_db_{contents.serial}"
        assert contents.valid_before - contents.valid_after == timedelta(days=7, minutes=5)
        assert not contents.critical_options
        assert not contents.extensions
        authority = deployment.authorities.show("blue")
        assert contents.signature_key == authority.active(Purpose.HOST).public_key
        assert lint.findings(certificate, deployment.limits) == ()
    host = deployment.ledger.hosts.get("blue", "db", scope=None)
    assert host.host_keys == tuple(key.public.line for key in keys)


def test_the_answer_is_under_a_mac_for_this_nonce_and_says_whom_to_trust(deployment):
    admission = admit(deployment)
    answer = redeem(deployment, admission, Key(), nonce="7" * 64)
    body = json.loads(answer.text)

    assert answer.mac == enrolment.answer_mac(
        admission.token.secret, "7" * 64, answer.text.encode()
    )
    stated = statement.decode(body["statement"].encode())
    assert stated.authority == body["authority"] == "blue"
    assert body["statement_keys"] == [key.line for key in stated.statement_keys]
    assert admission.token.trust == enrolment.trust_digest(stated.statement_keys)
    assert body["krl"] == {
        "version": stated.krl_version,
        "digest": stated.krl_digest,
        "url": f"https://tatu.example/v2/authorities/blue/krl/{stated.krl_version}",
    }
    assert deployment.statements.krl("blue", stated.krl_version)


# --- tokens


def test_a_token_is_the_same_until_it_is_redeemed_or_something_changes(deployment):
    first = admit(deployment)

    assert admit(deployment).token == first.token
    assert admit(deployment, names=("db", "www")).token.secret != first.token.secret
    with pytest.raises(Denied):
        redeem(deployment, first, Key())


def test_a_host_that_is_admitted_again_keeps_what_is_not_said_anew(deployment):
    first = admit(deployment, names=("www",), addresses=("10.0.0.1",))
    redeem(deployment, first, Key())

    assert admit(deployment).host.principals == first.host.principals
    assert len(live(deployment)) == 1
    assert admit(deployment, addresses=()).host.names == ("www", "www.blue.example")
    assert admit(deployment, names=()).host.names == ("db", "db.blue.example")


def test_a_redeemed_host_is_admitted_again_with_another_token(deployment):
    first = admit(deployment)
    redeem(deployment, first, Key())
    second = admit(deployment)

    assert second.host.epoch == first.host.epoch + 1
    assert second.token.secret != first.token.secret


def test_a_token_ends_with_the_permission_of_whoever_made_it(deployment):
    def by(identity):
        return deployment.admissions.admit(identity, "blue", "db", request_id="r")

    def ended():
        with pytest.raises(Denied, match="does not prove"):
            redeem(deployment, admission, Key())

    directory = deployment.ledger.directory
    deployment.assign("bob", "manager")
    admission = by(deployment.who("bob"))
    given = Assignment(project="blue", role="id-manager", user="id-bob")
    directory.unassign(given, deployment.event())
    ended()
    before = deployment.who("bob")
    admission = by(before)  # the API asks whether a member may
    directory.enable_user("id-bob", deployment.event(), enabled=False)
    ended()
    with pytest.raises(PermissionEnded):
        by(before)
    redeem(deployment, admit(deployment), Key())


def test_a_deleted_hosts_token_never_works_again(deployment):
    first = admit(deployment)
    deployment.revocation.delete_host(deployment.who("ann"), "blue", "db", request_id="r")
    with pytest.raises(Denied, match="does not prove"):
        redeem(deployment, first, Key())

    admit(deployment)
    with pytest.raises(Denied, match="does not prove"):
        redeem(deployment, first, Key())


def test_a_token_lives_as_long_as_it_is_asked_to_within_bounds(deployment):
    admission = admit(deployment, validity=timedelta(minutes=1))
    deployment.clock.forward(seconds=61)
    with pytest.raises(Denied, match="does not prove"):
        redeem(deployment, admission, Key())

    for validity in (timedelta(), timedelta(seconds=-1), timedelta(days=2)):
        with pytest.raises(Malformed):
            admit(deployment, validity=validity)


def test_the_token_that_a_person_carries_shows_no_secret_in_logs(deployment):
    admission = admit(deployment)

    assert repr(admission.token.secret) not in repr(admission)


# --- names (S8)


def test_a_name_that_another_live_host_holds_is_refused(deployment):
    admit(deployment, "i-1", names=("db",))

    with pytest.raises(Conflict, match="'db'"):
        admit(deployment, "i-2", names=("db",))
    deployment.revocation.delete_host(deployment.who("ann"), "blue", "i-1", request_id="r")
    admit(deployment, "i-2", names=("db",))


@pytest.mark.parametrize("name", ["github.com", "db.red.example", "blue.example"])
def test_a_host_cannot_be_called_what_is_not_the_projects(deployment, name):
    with pytest.raises(Denied):
        admit(deployment, "i-1", names=(name,))


@pytest.mark.parametrize("host", ["10.0.0.1", "a b", "*", "", "a,b", "db.blue.example"])
def test_a_host_id_is_a_plain_word(deployment, host):
    with pytest.raises(Malformed):
        admit(deployment, host)


def test_an_authority_that_is_not_there_admits_nobody(deployment):
    with pytest.raises(NotFound):
        deployment.admissions.admit(deployment.who("ann"), "green", "db", request_id="r")


# --- what proves nothing


def test_unknown_hosts_expired_tokens_and_wrong_macs_read_the_same(deployment):
    expired = admit(deployment, "old", validity=timedelta(seconds=1))
    deployment.clock.forward(seconds=2)
    good = admit(deployment)
    key = Key()
    attempts = [
        redemption(deployment, expired, [key]),
        redemption(deployment, good, [key], secret=bytes(32)),
        redemption(deployment, good, [key], host="nobody"),
        redemption(deployment, good, [key], authority="red"),
        redemption(deployment, good, [key], authority="green"),
        replace(redemption(deployment, good, [key]), mac=""),
        replace(redemption(deployment, good, [key]), nonce="1" * 64),
        replace(redemption(deployment, good, [key]), host_keys=(Key().public,)),
    ]
    texts = set()
    for attempt in attempts:
        with pytest.raises(Denied) as caught:
            deployment.enrolment.redeem(attempt, request_id="r")
        texts.add(str(caught.value))

    assert len(texts) == 1
    # Hosts that are not there leave no trace in the chain: strangers can name any number.
    assert len(events(deployment, "host.enrolment-denied")) == len(attempts) - 3
    assert live(deployment) == set()


def test_a_host_that_is_named_in_vain_is_written_down_some_times(deployment):
    wrong = redemption(deployment, admit(deployment), [Key()], secret=bytes(32))
    for _ in range(25):
        with pytest.raises(Unproven):
            deployment.enrolment.redeem(wrong, request_id="r")
    assert len(events(deployment, "host.enrolment-denied")) == 10


def test_a_signature_by_another_key_proves_nothing(deployment):
    admission, key = admit(deployment), Key()

    with pytest.raises(Denied):
        redeem(deployment, admission, key, signers=[Key()])
    good = redemption(deployment, admission, [key])
    for signature in (
        key.sign(Namespace.HOST, b""),
        key.sign(Namespace.ENROL, b"another message"),
    ):
        with pytest.raises(Denied):
            deployment.enrolment.redeem(replace(good, signatures=(signature,)), request_id="r")
    assert live(deployment) == set()


def test_keys_that_are_none_twice_too_many_or_unsigned_are_malformed(deployment):
    admission = admit(deployment)
    key = Key()
    for keys in ([], [key, key], [Key() for _ in range(9)]):
        with pytest.raises(Malformed):
            redeem(deployment, admission, *keys)
    with pytest.raises(Malformed, match="one signature by each"):
        redeem(deployment, admission, key, Key(), signers=[key])
    with pytest.raises(Malformed, match="nonce"):
        redeem(deployment, admission, key, nonce="short")


def test_a_security_key_is_no_host_key(deployment):
    admission, key = admit(deployment), Key()
    good = redemption(deployment, admission, [key], host_keys=(SK_ED25519,), signers=[key])

    with pytest.raises(Malformed, match="touch"):
        deployment.enrolment.redeem(good, request_id="r")


# --- once


def test_the_same_keys_get_the_same_certificates_again(deployment):
    admission, keys = admit(deployment), [Key(), Key()]
    first = certificates(redeem(deployment, admission, *keys))

    assert certificates(redeem(deployment, admission, *keys, nonce="1" * 64)) == first
    assert len(live(deployment)) == 2


def test_other_keys_are_refused_and_reported_on_the_host(deployment):
    admission, key = admit(deployment), Key()
    redeem(deployment, admission, key)

    with pytest.raises(Conflict):
        redeem(deployment, admission, Key())
    with pytest.raises(Conflict):
        redeem(deployment, admission, key, Key())
    assert deployment.ledger.hosts.get("blue", "db", scope=None).refused_at is not None
    assert len(events(deployment, "host.refused")) == 2
    assert len(live(deployment)) == 1


def test_of_two_that_redeem_at_once_one_gets_the_host(deployment):
    admission = admit(deployment)
    keys = [Key() for _ in range(4)]

    def one(at):
        try:
            return certificates(redeem(deployment, admission, keys[at]))
        except Conflict:
            return None

    found = [some for some in together(4, one) if some]
    assert len(found) == 1
    assert live(deployment) == {found[0][0].contents.serial}


def test_a_new_epoch_ends_the_certificates_of_the_one_before(deployment):
    keys = [Key(), Key()]
    first = admit(deployment, names=("db", "old"))
    redeem(deployment, first, *keys)
    second = admit(deployment, names=("db",))
    found = certificates(redeem(deployment, second, keys[0]))

    assert live(deployment) == {found[0].contents.serial}
    assert "old" not in found[0].contents.principals


# --- one key, one purpose (S1)


@pytest.mark.parametrize("moved", ["name", "address"])
def test_a_name_or_address_that_moves_on_is_in_one_live_certificate_only(deployment, moved):
    has = {"names": ("db",)} if moved == "name" else {"addresses": ("10.0.0.5",)}
    (old,) = certificates(redeem(deployment, admit(deployment, "a", **has), Key()))
    admit(deployment, "a", names=("a",), addresses=())  # and it never enrols again
    assert live(deployment) == set()
    (new,) = certificates(redeem(deployment, admit(deployment, "b", **has), Key()))

    assert live(deployment) == {new.contents.serial}
    assert deployment.ledger.publications.revision("blue") > 0
    now = deployment.clock()
    facts = deployment.ledger.revocations.facts("blue", now).serials
    assert [old.contents.serial] in [list(some) for some in facts.values()]


def test_a_new_epoch_ends_more_certificates_than_one_page_lists(deployment, monkeypatch):
    monkeypatch.setattr("tatu.service.paging.PAGE", 1)
    redeem(deployment, admit(deployment), Key(), Key(KeyAlgorithm.ECDSA_P256))
    deployment.clock.forward(seconds=1)
    answer = redeem(deployment, admit(deployment), Key())
    assert live(deployment) == {c.contents.serial for c in certificates(answer)}


def test_a_host_that_is_admitted_again_keeps_its_certificate_until_it_enrols(deployment):
    (old,) = certificates(redeem(deployment, admit(deployment, names=("db",)), Key()))
    admit(deployment, names=("db", "www"))
    assert live(deployment) == {old.contents.serial}


def test_a_key_that_is_another_hosts_is_refused_and_reported(deployment):
    key = Key()
    redeem(deployment, admit(deployment, "i-1"), key)
    copy = admit(deployment, "i-2")

    with pytest.raises(Conflict, match="another host's"):
        redeem(deployment, copy, key)
    assert deployment.ledger.hosts.get("blue", "i-2", scope=None).refused_at is not None

    deployment.revocation.delete_host(deployment.who("ann"), "blue", "i-1", request_id="r")
    redeem(deployment, copy, key)


def test_a_users_key_is_no_host_key_and_the_reverse(deployment):
    subject, sign_in, host = Key(), Key(), Key()
    deployment.issue("ann", subject)
    deployment.administration.add_key(
        deployment.who("ann"), "id-ann", sign_in.public, request_id="r"
    )
    admission = admit(deployment)
    for key in (subject, sign_in):
        with pytest.raises(Conflict, match="already"):
            redeem(deployment, admission, key)

    redeem(deployment, admission, host)
    with pytest.raises(Denied, match="host key already"):
        deployment.issue("ann", host)
    with pytest.raises(Conflict, match="host key already"):
        deployment.administration.add_key(
            deployment.who("ann"), "id-ann", host.public, request_id="r"
        )


# --- endings


def test_a_deleted_hosts_certificates_are_revoked(deployment):
    redeem(deployment, admit(deployment), Key())
    deployment.revocation.delete_host(deployment.who("ann"), "blue", "db", request_id="r")

    assert live(deployment) == set()


def test_a_blocked_host_is_neither_admitted_nor_enrolled(deployment):
    admission = admit(deployment)
    selector = RevocationSelector(authority="blue", host="db", block=True)
    deployment.revocation.revoke(deployment.who("ann"), selector, "owned", request_id="r")

    with pytest.raises(Denied, match="blocked"):
        redeem(deployment, admission, Key())
    with pytest.raises(Denied, match="blocked"):
        admit(deployment)


def test_a_host_that_the_brake_holds_gets_no_certificate_until_it_is_released(deployment):
    admission = admit(deployment)
    held = [Held(authority="blue", kind="host", value="db", since=deployment.clock())]
    deployment.ledger.holds.hold(held, deployment.event())
    with pytest.raises(Denied, match="being checked"):
        redeem(deployment, admission, Key())

    deployment.ledger.holds.release(held, deployment.event())
    redeem(deployment, admission, Key())


def test_a_host_that_is_deleted_while_its_certificate_is_made_gets_none(deployment):
    admission = admit(deployment)
    signer = deployment.keystore.signer

    def slow(reference):
        deployment.keystore.signer = signer
        deployment.revocation.delete_host(deployment.who("ann"), "blue", "db", request_id="r")
        return signer(reference)

    deployment.keystore.signer = slow
    with pytest.raises(Denied):
        redeem(deployment, admission, Key())
    assert live(deployment) == set()


def test_a_host_that_is_admitted_again_while_it_enrols_needs_the_new_token(deployment):
    admission = admit(deployment)
    purposes_of = deployment.ledger.purposes_of

    def slow(key, **more):
        deployment.ledger.purposes_of = purposes_of
        admit(deployment, names=("db", "www"))
        return purposes_of(key, **more)

    deployment.ledger.purposes_of = slow
    with pytest.raises(Denied, match="does not prove"):
        redeem(deployment, admission, Key())
    assert deployment.ledger.hosts.get("blue", "db", scope=None).host_keys == ()


def test_without_the_key_store_a_host_may_ask_again_later(deployment):
    admission, key = admit(deployment), Key()
    deployment.keystore.out = True
    with pytest.raises(Unavailable):
        redeem(deployment, admission, key)

    deployment.keystore.out = False
    redeem(deployment, admission, key)


def test_a_replaced_host_key_of_the_authority_signs_no_more(deployment):
    ann = deployment.who("ann")
    deployment.authorities.add_key(ann, "blue", Purpose.HOST, request_id="r")
    new = next(k for k in deployment.authorities.show("blue").keys if k.state is KeyState.NEXT)
    admission = admit(deployment)
    deployment.authorities.change_key(
        ann, "blue", new.public_key.fingerprint, KeyState.ACTIVE, at_once=True, request_id="r"
    )

    (found,) = certificates(redeem(deployment, admission, Key()))
    assert found.contents.signature_key == new.public_key
