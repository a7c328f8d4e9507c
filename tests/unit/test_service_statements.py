"""KRLs and statements: built when asked for, never older than what they must say (S2, S3, S18)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.core import krl, statement
from tatu.core.authority import KeyState, Purpose
from tatu.core.errors import Conflict, NotFound, Unavailable
from tatu.core.identity import Role
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import BreakGlass, Receiver
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tatu.ports import RevocationSelector
from tatu.store.ledger import SqlLedger
from tests.fakes.deployment import Key
from tests.fakes.revoking_sshd import is_revoked
from tests.fakes.threads import together
from tests.vectors import keys


def newest(deployment, authority="blue"):
    publication = deployment.statements.newest(authority)
    return publication, statement.decode(publication.statement)


def listed(deployment, authority="blue"):
    return krl.decode(deployment.statements.krl(authority))


def revoke(deployment, **selected):
    selector = RevocationSelector(authority="blue", **selected)
    return deployment.revocation.revoke(deployment.who("ann"), selector, "test", request_id="r")


def test_a_statement_says_what_hosts_obey_and_its_signature_verifies(deployment):
    publication, found = newest(deployment)
    authority = deployment.authorities.show("blue")

    assert found.deployment == deployment.id
    assert found.host == "*"
    assert found.accounts == {name: (name,) for name in ("admin", "manager", "member")}
    assert found.sudo == ("admin",)
    assert found.user_authorities == (authority.active(Purpose.USER).public_key,)
    assert found.host_authorities == (authority.active(Purpose.HOST).public_key,)
    assert found.statement_keys == (authority.active(Purpose.STATEMENT).public_key,)
    assert found.expires - found.issued == timedelta(minutes=10)
    assert found.krl_digest == statement.digest(deployment.statements.krl("blue"))
    signature = SshSignature.parse(publication.signature)
    assert signature.public_key == found.statement_keys[0]
    CryptographyVerifier().verify(
        signature.public_key,
        signature.signature,
        signature.signed_bytes(Namespace.STATEMENT, publication.statement),
    )


def test_a_host_may_obey_each_statement_after_the_one_before(deployment):
    receiver = Receiver(deployment=deployment.id, authority="blue", host="db")
    last = None
    for _ in range(4):
        _, found = newest(deployment)
        statement.accept(found, last, receiver, deployment.clock())
        last = found
        serial = deployment.issue("ann").certificate.serial
        revoke(deployment, serial=serial)


def test_a_statement_says_how_sudo_and_sessions_end_and_who_gets_in_when_all_is_away(deployment):
    _, found = newest(deployment)
    assert (found.pam_sudo, found.end_at_expiry, found.break_glass) == (False, False, None)
    profile = deployment.authorities.show("blue").profile
    deployment.authorities.change_profile(
        deployment.who("ann"), "blue", replace(profile, pam_sudo=True), request_id="r"
    )
    assert newest(deployment)[1].pam_sudo, "hosts are told at once"
    offline = BreakGlass(authorities=(keys.ED25519,), account="breakglass")
    deployment.clock.forward(seconds=1)
    deployment.compose(end_at_expiry=True, break_glass=offline)
    _, found = newest(deployment)
    assert (found.pam_sudo, found.end_at_expiry, found.break_glass) == (True, True, offline)


def test_a_process_that_is_configured_otherwise_says_so_once_and_is_not_answered(deployment):
    before, _ = newest(deployment)
    older = deployment.statements
    deployment.clock.forward(seconds=1)
    assert deployment.compose().statements.newest("blue") == before, "it says the same"
    newer = deployment.compose(end_at_expiry=True).statements
    told = newer.newest("blue")
    assert told.version > before.version
    assert [told, told] == [older.newest("blue"), newer.newest("blue")]
    deployment.clock.forward(seconds=1)
    deployment.keystore.out = True
    assert deployment.compose().statements.newest("blue") == told, "none can be made"


def test_what_another_release_said_is_said_anew_after_the_upgrade(deployment):
    before, _ = newest(deployment)
    text = before.statement.replace(b'"pam_sudo":false,', b"")
    older = replace(before, statement=text, version=before.version + 1)
    deployment.ledger.publications.store(older, None, after=before.version)
    deployment.clock.forward(seconds=1)
    publication, found = newest(deployment.compose())
    assert publication.version > older.version
    assert (found.pam_sudo, found.krl_version) == (False, before.krl_version)
    key = deployment.authorities.show("blue").active(Purpose.USER)
    assert deployment.statements.announced_for("blue", key) is not None


def test_an_authority_that_is_not_there_has_no_statement(deployment):
    with pytest.raises(NotFound):
        deployment.statements.newest("green")
    with pytest.raises(NotFound):
        deployment.statements.krl("green")
    with pytest.raises(NotFound):
        deployment.statements.krl("blue", 7)


def test_what_stands_is_served_again(deployment):
    first = deployment.statements.newest("blue")
    deployment.clock.forward(minutes=4)
    deployment.keystore.out = True

    assert first == deployment.statements.newest("blue")


def test_a_statement_is_made_anew_when_half_of_its_life_is_over(deployment):
    first = deployment.statements.newest("blue")
    deployment.clock.forward(minutes=5, seconds=1)
    second = deployment.statements.newest("blue")

    assert second.version > first.version
    assert second.expires_at > first.expires_at
    assert second.krl_version == first.krl_version


def test_a_statement_that_says_all_is_served_until_it_expires_when_none_can_be_made(deployment):
    first = deployment.statements.newest("blue")
    deployment.clock.forward(minutes=9)
    deployment.keystore.out = True

    assert first == deployment.statements.newest("blue")
    deployment.ledger.authorities.touch()
    with pytest.raises(Unavailable):
        deployment.statements.newest("blue")


def test_an_expired_statement_is_not_served_when_none_can_be_made(deployment):
    deployment.statements.newest("blue")
    deployment.clock.forward(minutes=11)
    deployment.keystore.out = True

    with pytest.raises(Unavailable):
        deployment.statements.newest("blue")


def test_what_is_revoked_goes_out_while_the_cloud_is_away_and_this_process_is_new(deployment):
    _, before = newest(deployment)
    serial, ann = deployment.issue("ann").certificate.serial, deployment.who("ann")
    deployment.identities.out = True
    deployment.compose()
    selector = RevocationSelector(authority="blue", serial=serial)
    deployment.revocation.revoke(ann, selector, "test", request_id="r")

    _, after = newest(deployment)
    assert (before.accounts, before.sudo) == (after.accounts, after.sudo)
    user_key = deployment.authorities.show("blue").active(Purpose.USER).public_key
    assert serial in listed(deployment).serials[user_key]


def test_after_a_change_no_roles_count_that_were_found_out_before(deployment, monkeypatch):
    asked, roles = [], deployment.identities.roles
    monkeypatch.setattr(
        deployment.identities, "roles", lambda *, since: asked.append(since) or roles()
    )
    deployment.statements.newest("blue")
    deployment.clock.forward(minutes=6)
    deployment.statements.newest("blue")
    before = deployment.clock()
    deployment.ledger.authorities.touch()
    deployment.statements.newest("blue")

    of_age, of_change = asked[-2:]
    assert of_age is None
    assert of_change > before


def test_without_any_statement_yet_the_cloud_must_tell_its_roles(deployment):
    ann = deployment.who("ann")
    deployment.identities.out = True
    deployment.authorities.create(ann, "green", "green", request_id="r")
    with pytest.raises(Unavailable):
        deployment.statements.newest("green")

    deployment.identities.out = False
    assert newest(deployment, "green")[1].accounts


def test_what_was_revoked_is_in_the_very_next_answer(deployment):
    serial = deployment.issue("ann").certificate.serial
    before = deployment.statements.newest("blue")
    user_key = deployment.authorities.show("blue").active(Purpose.USER).public_key

    done = revoke(deployment, serial=serial)

    after = deployment.statements.newest("blue")
    assert done.krl_version == after.krl_version > before.krl_version
    assert serial in listed(deployment).serials[user_key]


def test_a_revocation_in_one_project_leaves_the_others_alone(deployment):
    red = deployment.statements.newest("red")
    revoke(deployment, serial=deployment.issue("ann").certificate.serial)

    assert red == deployment.statements.newest("red")


def test_a_krl_that_says_the_same_keeps_its_version(deployment):
    first = deployment.statements.newest("blue")
    deployment.ledger.authorities.touch()
    second = deployment.statements.newest("blue")

    assert second.version > first.version
    assert second.krl_version == first.krl_version
    assert deployment.statements.krl("blue", first.krl_version) == deployment.statements.krl(
        "blue"
    )


def test_an_expired_serial_stays_for_two_days_more(deployment):
    serial = deployment.issue("ann").certificate.serial
    revoke(deployment, serial=serial)
    deployment.clock.forward(hours=24 + 47)
    assert [serial] == [first for s in listed(deployment).serials.values() for first in s.firsts]

    deployment.clock.forward(hours=2)
    assert listed(deployment).serials == {}


def test_a_blocked_subject_key_is_in_the_krl_by_its_hash(deployment):
    key = Key()
    deployment.issue("bob", key)
    revoke(deployment, subject_key=key.public.fingerprint, block=True)

    found = listed(deployment)
    assert is_revoked(
        replace(found, serials={}),
        signature_key=deployment.authorities.show("blue").active(Purpose.USER).public_key,
        serial=1,
        key_id="x",
        subject_key=key.public,
    )


def test_versions_grow_with_the_clock_and_without_it(deployment):
    first = deployment.statements.newest("blue")
    now = deployment.clock.now
    assert abs(first.version - int(now.timestamp() * 1000)) < 60_000
    deployment.clock.now = now - timedelta(days=1)  # somebody set it back

    deployment.ledger.authorities.touch()
    assert deployment.statements.newest("blue").version == first.version + 1


def test_a_clock_that_was_set_back_keeps_no_statement_longer(deployment):
    first = deployment.statements.newest("blue")
    deployment.clock.forward(hours=-1)

    assert deployment.statements.newest("blue").issued_at < first.issued_at


def test_a_new_role_is_in_the_next_statement(deployment):
    deployment.administration.create_role(
        deployment.who("ann"), Role(id="id-dba", name="dba"), request_id="r"
    )

    assert newest(deployment)[1].accounts["dba"] == ("dba",)


def test_keys_come_before_they_sign_and_go_when_their_certificates_have_ended(deployment):
    ann = deployment.who("ann")
    for purpose in Purpose:
        deployment.authorities.add_key(ann, "blue", purpose, request_id="r")
    _, found = newest(deployment)
    keys = found.user_authorities, found.host_authorities, found.statement_keys
    assert [len(some) for some in keys] == [2, 2, 2]

    for key in deployment.authorities.show("blue").keys:
        if key.state is KeyState.NEXT:
            deployment.authorities.change_key(
                ann,
                "blue",
                key.public_key.fingerprint,
                KeyState.ACTIVE,
                at_once=True,
                request_id="r",
            )
    _, found = newest(deployment)
    keys = found.user_authorities, found.host_authorities, found.statement_keys
    assert [len(some) for some in keys] == [2, 2, 1]

    deployment.clock.forward(hours=24 + 49)
    assert len(newest(deployment)[1].user_authorities) == 1
    assert len(newest(deployment)[1].host_authorities) == 2
    deployment.clock.forward(days=30)
    assert len(newest(deployment)[1].host_authorities) == 1


def test_a_revoked_key_is_in_the_krl_with_all_that_it_signed(deployment):
    ann = deployment.who("ann")
    old = deployment.authorities.show("blue").active(Purpose.USER).public_key
    deployment.authorities.add_key(ann, "blue", Purpose.USER, request_id="r")
    new = next(k for k in deployment.authorities.show("blue").keys if k.state is KeyState.NEXT)
    for key, state, revoked in (
        (new.public_key, KeyState.ACTIVE, False),
        (old, KeyState.RETIRED, True),
    ):
        deployment.authorities.change_key(
            ann, "blue", key.fingerprint, state, revoked=revoked, at_once=True, request_id="r"
        )

    assert old in listed(deployment).whole_authorities
    assert newest(deployment)[1].user_authorities == (new.public_key,)


def test_the_key_that_signs_stands_first_so_that_hosts_know_when_to_renew(deployment):
    ann = deployment.who("ann")
    deployment.authorities.add_key(ann, "blue", Purpose.HOST, request_id="r")
    old, new = deployment.authorities.show("blue").trusted(Purpose.HOST)
    assert newest(deployment)[1].host_authorities == (old.public_key, new.public_key)
    deployment.authorities.change_key(
        ann, "blue", new.public_key.fingerprint, KeyState.ACTIVE, at_once=True, request_id="r"
    )
    assert newest(deployment)[1].host_authorities == (new.public_key, old.public_key)


# --- nobody is locked out by accident


def test_roles_that_would_empty_the_accounts_leave_those_of_the_last_statement(deployment):
    _, before = newest(deployment)
    deployment.identities.roles = lambda **_: frozenset()
    serial = deployment.issue("ann").certificate.serial

    assert revoke(deployment, serial=serial).krl_version is not None
    _, after = newest(deployment)
    assert after.version > before.version
    assert (before.accounts, before.sudo) == (after.accounts, after.sudo)


def test_sudo_is_not_lost_by_accident_either(deployment):
    _, before = newest(deployment)
    deployment.identities.roles = lambda **_: frozenset({Role(id="1", name="member")})
    deployment.ledger.authorities.touch()

    assert newest(deployment)[1].sudo == before.sudo == ("admin",)


def test_a_lockdown_empties_accounts_and_sudo_and_says_so(deployment):
    newest(deployment)
    deployment.identities.roles = lambda **_: frozenset()
    deployment.ledger.authorities.touch()
    deployment.compose(lockdown=True)

    _, found = newest(deployment)
    assert (found.accounts, found.sudo, found.lockdown) == ({}, (), True)


def test_without_any_account_an_authority_has_no_statement_yet(deployment):
    roles = deployment.identities.roles
    deployment.identities.roles = lambda **_: frozenset()
    deployment.authority("green")
    with pytest.raises(Conflict, match="no role opens an account"):
        deployment.statements.newest("green")

    deployment.identities.roles = roles
    assert newest(deployment, "green")[1].sudo == ("admin",)


def test_a_revocation_stands_when_it_cannot_be_published_yet(deployment):
    serial = deployment.issue("ann").certificate.serial
    deployment.keystore.out = True
    done = revoke(deployment, serial=serial)
    assert (done.serials, done.krl_version) == ((serial,), None)

    deployment.keystore.out = False
    assert [serial] == [first for s in listed(deployment).serials.values() for first in s.firsts]


# --- many at once


def test_many_readers_share_one_build(deployment, monkeypatch):
    signed = []
    build = type(deployment.statements)._build
    monkeypatch.setattr(
        type(deployment.statements), "_build", lambda *args: (signed.append(1), build(*args))
    )
    deployment.ledger.authorities.touch()
    found = together(8, lambda _: deployment.statements.newest("blue").version)

    assert len(set(found)) == 1
    assert signed == [1]


def test_two_processes_serve_the_same_bytes(deployment):
    database = deployment.ledger._database.engine.url
    other = SqlLedger.open(
        f"sqlite:///{database.database}", state_dir=None, clock=deployment.clock
    )
    services = [deployment.statements, replace(deployment.statements, ledger=other)]
    for _ in range(5):
        deployment.ledger.authorities.touch()
        found = together(2, lambda at: services[at].newest("blue"))
        assert found[0] == found[1]
    other.close()


def test_what_another_process_built_meanwhile_is_not_built_again(deployment):
    deployment.ledger.authorities.touch()
    stands = deployment.statements.newest("blue")

    deployment.statements._build("blue")  # a caller who had looked before the other was done

    assert deployment.statements.newest("blue") == stands


def test_every_revocation_is_in_what_is_asked_for_after_it(deployment):
    serials = [deployment.issue("ann").certificate.serial for _ in range(12)]
    user_key = deployment.authorities.show("blue").active(Purpose.USER).public_key

    def one(at):
        revoke(deployment, serial=serials[at])
        return serials[at] in listed(deployment).serials[user_key]

    assert together(12, one) == [True] * 12
