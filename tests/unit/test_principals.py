"""From roles to principals (S5)."""

from hypothesis import given
from hypothesis import strategies as st

from tatu.core.identity import Role
from tatu.core.principals import RoleMap


def role(name: str, role_id: str | None = None) -> Role:
    return Role(id=role_id or f"id-{name}", name=name)


def reasons(role_map: RoleMap, *roles: Role) -> dict[str, str]:
    return {out.role.id: out.reason for out in role_map.of(roles).left_out}


def test_a_role_opens_the_account_of_its_name():
    given = RoleMap().of({role("admin"), role("member")}).given

    assert {"admin": role("admin"), "member": role("member")} == dict(given)


def test_readers_and_services_open_no_account():
    names = ("reader", "service", "tatu-inventory", "tatu-vendordata")
    found = RoleMap().of({role(name) for name in names})

    assert dict(found.given) == {}
    assert {"this role opens no account"} == {out.reason for out in found.left_out}


def test_a_mapped_role_opens_the_account_that_it_is_mapped_to():
    found = RoleMap(accounts={"Site Ops": "ops"}).of({role("Site Ops")})

    assert list(found.given) == ["ops"]


def test_a_role_whose_name_is_no_account_is_left_out_with_the_reason():
    found = RoleMap().of({role("Site Ops"), role("member")})

    assert list(found.given) == ["member"]
    assert "is no account name" in found.left_out[0].reason


def test_a_role_named_root_is_left_out():
    assert "reserved" in reasons(RoleMap(), role("root"))["id-root"]


def test_a_role_mapped_to_root_is_left_out():
    assert "reserved" in reasons(RoleMap(accounts={"ops": "root"}), role("ops"))["id-ops"]


def test_two_roles_of_one_name_open_neither_account():
    found = RoleMap().of({role("ops", "1"), role("ops", "2")})

    assert dict(found.given) == {}
    assert {"1", "2"} == {out.role.id for out in found.left_out}


def test_two_roles_mapped_to_one_account_are_refused_even_one_by_one():
    role_map = RoleMap(accounts={"dev": "shared", "ops": "shared"})

    assert "another role" in reasons(role_map, role("dev"))["id-dev"]
    assert "another role" in reasons(role_map, role("ops"))["id-ops"]


def test_a_role_cannot_take_by_its_name_what_another_is_mapped_to():
    role_map = RoleMap(accounts={"ops": "admin"})

    assert "another role" in reasons(role_map, role("admin"))["id-admin"]
    assert {"id-admin", "id-ops"} == set(reasons(role_map, role("admin"), role("ops")))


def test_a_role_that_opens_no_account_takes_none_from_another():
    found = RoleMap(accounts={"ops": "reader"}).of({role("ops"), role("reader")})

    assert list(found.given) == ["reader"]
    assert role("ops") == found.given["reader"]


NAMES = st.sampled_from(["admin", "member", "reader", "ops", "Ops", "root", "a b", "dev"])
ROLES = st.frozensets(
    st.builds(lambda i, name: Role(id=i, name=name), st.sampled_from("12345"), NAMES)
)


@given(accounts=st.dictionaries(NAMES, NAMES), roles=ROLES)
def test_no_account_is_ever_given_by_two_roles(accounts, roles):
    role_map = RoleMap(accounts=accounts)
    found = role_map.of(roles)

    assert len(set(found.given.values())) == len(found.given)
    assert roles == set(found.given.values()) | {out.role for out in found.left_out}
    for account, held in found.given.items():
        assert account == role_map.account(held.name)
        rivals = [
            other
            for other in roles
            if other != held
            and role_map.account(other.name) == account
            and other.name not in role_map.without_account
        ]
        assert rivals == []
