"""`tatu-manage openstack register`: all that a cloud needs to know of Tatu, by one command."""

import stat

import pytest
from keystoneauth1.exceptions import Forbidden, Unauthorized

from tests.lab.openstack import keystone
from tests.openstack.deployment import Tatu


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    made = Tatu(identity_lab, tmp_path_factory.mktemp("registered"))
    yield made
    made.close()


def session(lab, tatu, **scope):
    user = tatu.vendordata_user
    return lab.session(user=user["username"], password=user["password"], **scope)


def roles(lab, user):
    asking, base = keystone.admin(lab), lab.keystone_url
    found = asking.get(f"{base}/users", params={"name": user}).json()["users"][0]["id"]
    given = asking.get(
        f"{base}/role_assignments", params={"user.id": found, "include_names": "1"}
    ).json()["role_assignments"]
    return {(each["role"]["name"], place(each["scope"])) for each in given}


def place(scope):
    if "domain" in scope:
        assert scope["OS-INHERIT:inherited_to"] == "projects"
        return f"every project of {scope['domain']['name']}"
    return "system" if "system" in scope else scope["project"]["name"]


def test_each_user_has_what_it_needs_and_no_more(identity_lab, tatu):
    asked = keystone.admin(identity_lab).get(f"{identity_lab.keystone_url}/domains").json()
    everywhere = {("tatu-inventory", f"every project of {d['name']}") for d in asked["domains"]}
    assert roles(identity_lab, "tatu") == {
        *everywhere,
        ("reader", "system"),
        ("member", "tatu-keys"),
    }
    assert roles(identity_lab, "tatu-vendordata") == {("tatu-vendordata", "service")}


def test_tatus_own_user_reads_and_changes_nothing(identity_lab, tatu):
    user = tatu.own_user
    asking = identity_lab.session(
        user=user["username"], password=user["password"], system_scope="all"
    )
    base = identity_lab.keystone_url
    assert asking.get(f"{base}/users").ok
    with pytest.raises(Forbidden):
        asking.post(f"{base}/roles", json={"role": {"name": "made-by-tatu"}})
    with pytest.raises(Forbidden):
        asking.post(f"{base}/users", json={"user": {"name": "made-by-tatu"}})


def test_the_catalog_tells_where_tatu_is(identity_lab, tatu):
    found = identity_lab.session().get_endpoint(service_type="ssh", interface="public")
    assert found == tatu.url


def test_a_second_time_nothing_changes_and_nobody_is_locked_out(identity_lab, tatu, capsys):
    before = tatu.cloud_conf.read_text(), tatu.nova_conf.read_text()
    capsys.readouterr()
    tatu.register()
    assert "all is there already" in capsys.readouterr().out.splitlines()
    assert before == (tatu.cloud_conf.read_text(), tatu.nova_conf.read_text())


def test_another_address_is_put_into_the_catalog(identity_lab, tatu):
    tatu.register("--endpoint=https://elsewhere.example")
    try:
        found = identity_lab.session().get_endpoint(service_type="ssh", interface="public")
        assert found == "https://elsewhere.example"
    finally:
        tatu.register()


def test_what_was_written_is_its_owners_alone(tatu):
    for file in (tatu.cloud_conf, tatu.nova_conf):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_password_that_nobody_here_knows_is_replaced_only_when_asked(identity_lab, tatu, capsys):
    old = session(identity_lab, tatu, project_name="service", project_domain_id="default")
    tatu.nova_conf.unlink()
    capsys.readouterr()
    tatu.register(code=1)
    assert "--new-passwords" in capsys.readouterr().out
    assert not tatu.nova_conf.exists()
    assert old.get_token()
    tatu.register("--new-passwords")
    old.invalidate()
    with pytest.raises(Unauthorized):
        old.get_token()
    assert session(
        identity_lab, tatu, project_name="service", project_domain_id="default"
    ).get_token()


def test_everything_that_was_registered_answers(tatu, capsys):
    tatu.manage("check")
    out = capsys.readouterr().out
    for part in ("keystore (castellan)", "identity (keystone)", "events (oslo)"):
        assert any(part in line and line.endswith("ok") for line in out.splitlines()), out
