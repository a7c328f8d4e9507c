"""What a caller may have."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core.authority import Authority, AuthorityKey, KeyState, Profile, Purpose
from tatu.core.errors import Conflict, Denied, Malformed
from tatu.core.identity import Identity, Role
from tatu.core.policy import Wanted, decide, key_id_name
from tatu.core.principals import RoleMap
from tests.vectors.keys import ECDSA_256, ED25519

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BLUE = Authority(id="blue", name="Blue", profile=Profile(), keys=(), created_at=NOW)
ADMIN, MEMBER, READER = (Role(id=f"id-{n}", name=n) for n in ("admin", "member", "reader"))
ANN = Identity(
    issuer="local",
    subject="ann-id",
    name="ann",
    project="blue",
    roles=frozenset({ADMIN, MEMBER, READER}),
    mark=0,
    validated_at=NOW,
    expires_at=NOW + timedelta(hours=1),
)
WANTED = Wanted(subject_key=ED25519)


def granted(wanted=WANTED, *, profile=BLUE.profile, identity=ANN, role_map=None):
    authority = replace(BLUE, profile=profile)
    return decide(authority, identity, wanted, role_map or RoleMap(), NOW)


def test_all_that_the_roles_give_is_granted_when_nothing_is_asked_for():
    grant = granted()

    assert grant.principals == ("admin", "member")
    assert grant.roles == ("id-admin", "id-member")
    assert [out.role for out in grant.left_out] == [READER]
    assert NOW - timedelta(minutes=5) == grant.valid_after
    assert NOW + timedelta(hours=24) == grant.valid_before
    assert grant.critical_options == {}
    assert grant.key_id(7) == "ann_7"


def test_no_certificate_outlives_what_its_token_was_got_by():
    def until(**span):
        return granted(identity=replace(ANN, ends_by=NOW + timedelta(**span))).valid_before

    assert NOW + timedelta(hours=2) == until(hours=2)
    assert NOW + timedelta(hours=2) == until(hours=2, microseconds=999_999)
    assert NOW + timedelta(hours=24) == until(days=30)
    for over in ({"seconds": 0}, {"microseconds": 999_999}, {"days": -1}):
        with pytest.raises(Denied, match="ends now"):
            until(**over)


def test_asked_for_principals_narrow_the_grant_and_its_roles():
    grant = granted(replace(WANTED, principals=frozenset({"member"})))

    assert grant.principals == ("member",)
    assert grant.roles == ("id-member",)


def test_a_principal_the_caller_lacks_is_refused():
    with pytest.raises(Denied, match="no role here gives 'dba', 'root'"):
        granted(replace(WANTED, principals=frozenset({"member", "root", "dba"})))


def test_a_principal_that_another_writing_would_give_is_refused():
    for text in ("Admin", "admin ", "ádmin", "admin,root"):
        with pytest.raises(Denied):
            granted(replace(WANTED, principals=frozenset({text})))


def test_no_principals_at_all_is_not_read_as_all():
    with pytest.raises(Malformed, match="asks for nothing"):
        granted(replace(WANTED, principals=frozenset()))


def test_a_token_of_another_project_is_refused():
    for project in ("red", "Blue", "blue ", None):
        with pytest.raises(Denied, match="not scoped"):
            granted(identity=replace(ANN, project=project))


def test_whoever_has_no_role_that_opens_an_account_is_told_why():
    with pytest.raises(Denied, match="reader: this role opens no account"):
        granted(identity=replace(ANN, roles=frozenset({READER})))
    with pytest.raises(Denied, match="no roles in this project"):
        granted(identity=replace(ANN, roles=frozenset()))


def test_a_shorter_validity_is_granted_and_a_longer_one_refused():
    hour = replace(WANTED, validity=timedelta(hours=1))

    assert NOW + timedelta(hours=1) == granted(hour).valid_before
    with pytest.raises(Denied, match="at most 86400 seconds"):
        granted(replace(WANTED, validity=timedelta(hours=24, seconds=1)))


@pytest.mark.parametrize(
    "validity",
    [timedelta(0), timedelta(seconds=-1), timedelta(microseconds=1), timedelta(seconds=1.5)],
)
def test_a_validity_that_is_no_number_of_seconds_is_refused(validity):
    with pytest.raises(Malformed):
        granted(replace(WANTED, validity=validity))


def test_a_force_command_is_granted_as_a_critical_option():
    grant = granted(replace(WANTED, force_command="uptime -p"))

    assert grant.critical_options == {"force-command": "uptime -p"}
    assert "force-command" not in grant.extensions


@pytest.mark.parametrize("command", ["", " ", "a\nb", "a\0", "\ud800", "x" * 4097])
def test_a_force_command_that_is_no_printable_line_is_refused(command):
    with pytest.raises(Malformed):
        granted(replace(WANTED, force_command=command))


def test_source_addresses_are_granted_as_a_critical_option():
    grant = granted(replace(WANTED, source_addresses=("10.0.0.1", "2001:db8::/32")))

    assert grant.critical_options == {"source-address": "10.0.0.1/32,2001:db8::/32"}


@pytest.mark.parametrize(
    "text", ["", "host", "10.0.0.1/8", "10.0.0.1,10.0.0.2", "10.0.0.1 ", "!10.0.0.1", "*"]
)
def test_a_source_address_that_is_none_is_refused(text):
    with pytest.raises(Malformed):
        granted(replace(WANTED, source_addresses=(text,)))


def test_an_empty_or_endless_list_of_source_addresses_is_refused():
    with pytest.raises(Malformed, match="nobody"):
        granted(replace(WANTED, source_addresses=()))
    with pytest.raises(Malformed, match="at most 64"):
        granted(replace(WANTED, source_addresses=("10.0.0.1",) * 65))


def test_source_addresses_can_only_narrow_the_profiles():
    profile = replace(BLUE.profile, source_addresses=("10.0.0.0/8",))

    assert granted(profile=profile).critical_options == {"source-address": "10.0.0.0/8"}
    narrow = replace(WANTED, source_addresses=("10.1.0.0/16",))
    assert granted(narrow, profile=profile).critical_options == {"source-address": "10.1.0.0/16"}
    for text in ("0.0.0.0/0", "11.0.0.1", "::/0", "10.0.0.0/7"):
        with pytest.raises(Denied, match="outside"):
            granted(replace(WANTED, source_addresses=(text,)), profile=profile)


def test_agent_forwarding_is_granted_only_where_sudo_asks_the_agent():
    asking = replace(BLUE.profile, extensions=frozenset({"permit-pty", "permit-agent-forwarding"}))

    assert granted(profile=asking).extensions == {"permit-pty": ""}
    with_sudo = replace(asking, pam_sudo=True)
    assert {"permit-agent-forwarding", "permit-pty"} == set(granted(profile=with_sudo).extensions)


@given(st.text(max_size=300))
def test_no_name_can_forge_a_log_line(name):
    shown = key_id_name(name)

    assert 0 < len(shown) <= 128
    assert all("!" <= char <= "~" and char not in "()\"'\\" for char in shown)


def test_a_name_made_to_look_like_another_certificate_is_flattened():
    assert key_id_name("ann (serial 1) CA x") == "ann__serial_1__CA_x"


# --- what the subject key signs


def message(wanted=WANTED, *, deployment="d", authority="blue", subject="ann-id"):
    return wanted.proof_message(deployment=deployment, authority=authority, subject=subject)


@pytest.mark.parametrize(
    "other",
    [
        message(deployment="e"),
        message(authority="red"),
        message(subject="bob-id"),
        message(replace(WANTED, subject_key=ECDSA_256)),
        message(replace(WANTED, principals=frozenset())),
        message(replace(WANTED, principals=frozenset({"admin"}))),
        message(replace(WANTED, validity=timedelta(seconds=1))),
        message(replace(WANTED, force_command="")),
        message(replace(WANTED, source_addresses=())),
    ],
)
def test_a_proof_for_one_request_says_nothing_about_another(other):
    assert message() != other


def test_the_proof_is_canonical_json():
    wanted = replace(WANTED, principals=frozenset({"b", "a"}), validity=timedelta(hours=1))
    facts = json.loads(message(wanted))

    assert facts["principals"] == ["a", "b"]
    assert facts["validity"] == 3600
    assert json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() == message(wanted)


# --- the authority


def key(purpose, state, revoked_at=None):
    return AuthorityKey(
        reference=f"{purpose}-{state}",
        purpose=purpose,
        state=state,
        public_key=ED25519,
        created_at=NOW,
        revoked_at=revoked_at,
    )


def test_only_the_active_key_of_its_purpose_signs():
    active = key(Purpose.USER, KeyState.ACTIVE)
    authority = replace(
        BLUE, keys=(key(Purpose.USER, KeyState.NEXT), key(Purpose.USER, KeyState.RETIRED), active)
    )

    assert active is authority.active(Purpose.USER)
    with pytest.raises(Conflict, match="no active host key"):
        authority.active(Purpose.HOST)


def test_a_revoked_key_neither_signs_nor_is_trusted():
    authority = replace(BLUE, keys=(key(Purpose.USER, KeyState.ACTIVE, revoked_at=NOW),))

    assert authority.trusted(Purpose.USER) == ()
    with pytest.raises(Conflict):
        authority.active(Purpose.USER)


def test_next_and_retired_keys_are_trusted():
    keys = tuple(key(Purpose.HOST, state) for state in KeyState)
    authority = replace(BLUE, keys=(*keys, key(Purpose.USER, KeyState.ACTIVE)))

    assert keys == authority.trusted(Purpose.HOST)
