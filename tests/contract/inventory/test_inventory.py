"""What every inventory keeps: the fake, and Nova's over HTTP. `tests/openstack` has the real one."""

import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tatu import bootstrap, config
from tatu.core.errors import Malformed, NotFound, Unavailable
from tatu.drivers import places
from tatu.drivers.inventory.nova import Nova, SignIns
from tests.fakes.inventory import FakeInventory
from tests.fakes.openstack import FakeOpenStack

BUILT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
SHOW = f"/compute/v2.1/servers/{A}"


@pytest.fixture
def cloud():
    made = FakeOpenStack()
    yield made
    made.close()


@pytest.fixture
def into(cloud):
    """How Tatu's user signs in to a project."""
    return lambda project: v3.Password(
        auth_url=f"{cloud.url}/v3",
        username="tatu",
        user_domain_id="d",
        password="secret-of-tatu",
        project_id=project,
    )


WHERE = {"interface": "public", "region_name": None}


@pytest.fixture
def nova(into):
    return Nova(
        session=Session(timeout=5),
        auth=into("service"),
        sign_ins=SignIns(into),
        where=WHERE,
        at_once=8,
    )


@pytest.fixture(params=["fake", "nova"])
def known(request):
    """An inventory, and how to put an instance in."""
    if request.param == "fake":
        found = FakeInventory()
        return found, lambda server, **more: found.put(server, built_at=BUILT, **more)
    cloud = request.getfixturevalue("cloud")
    return request.getfixturevalue("nova"), lambda server, **more: cloud.put(
        server, created=BUILT, **more
    )


def test_an_instance_is_told_with_its_name_its_addresses_and_its_age(known):
    inventory, put = known
    put(A, name="db", addresses=["10.0.0.5", "10.0.0.6"])
    found = inventory.instance(A, project="blue")

    assert (found.id, found.project, found.name) == (A, "blue", "db")
    assert found.addresses == ("10.0.0.5", "10.0.0.6")
    assert found.built_at == BUILT


def test_what_is_not_there_or_in_another_project_is_not_found(known):
    inventory, put = known
    put(A, project="red")
    for server in (A, B):
        with pytest.raises(NotFound):
            inventory.instance(server, project="blue")


def test_all_instances_of_all_projects_are_listed(known):
    inventory, put = known
    servers = {f"{n}aaaaaaa-0000-4000-8000-000000000001" for n in range(5)}
    for n, server in enumerate(sorted(servers)):
        put(server, project=("blue", "red")[n % 2], name=f"db-{n}")

    assert set(inventory.instances()) == servers


def test_an_inventory_that_answers_passes_its_check(known):
    known[0].check()


# --- Nova's


def test_a_rebuild_is_a_new_build_and_nothing_else_is(cloud, nova):
    cloud.put(A, created=BUILT)
    rebuilt = BUILT + timedelta(days=1, microseconds=7)
    cloud.rebuild(A, rebuilt)
    cloud.rebuild(A, BUILT + timedelta(hours=1))
    reboot = {"action": "reboot", "start_time": "2030-01-01T00:00:00.000000"}
    cloud.servers[A]["actions"].insert(0, reboot)

    assert nova.instance(A, project="blue").built_at == rebuilt


def test_addresses_are_those_of_the_projects_own_ports_in_an_order_that_stays(cloud, nova):
    cloud.put(A, created=BUILT, addresses=["10.0.0.9", "10.0.0.5"])
    cloud.floating.append({"port_id": cloud.ports[0]["id"], "floating_ip_address": "203.0.113.7"})
    cloud.floating.append({"port_id": "another", "floating_ip_address": "203.0.113.8"})
    cloud.port(A, ["10.0.0.1"], project="red")
    cloud.port(A, ["10.0.0.2"], owner="network:dhcp")
    cloud.port(B, ["10.0.0.3"])

    assert nova.instance(A, project="blue").addresses == ("10.0.0.5", "10.0.0.9", "203.0.113.7")


def test_ports_that_neutron_hides_are_no_absence(cloud, nova):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    cloud.ports.clear()
    with pytest.raises(Unavailable, match="neutron-policy"):
        nova.instance(A, project="blue")


def test_a_port_whose_owner_calls_it_anything_gives_no_address_and_freezes_none(cloud, nova):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    cloud.ports[0]["device_owner"] = "mine:now"
    assert nova.instance(A, project="blue").addresses == ()


def test_an_instance_without_network_has_no_address(cloud, nova):
    cloud.put(A, created=BUILT)
    cloud.ports.clear()
    assert nova.instance(A, project="blue").addresses == ()


ABSENT = b'{"itemNotFound": {"code": 404, "message": "Instance %s could not be found."}}'


@pytest.mark.parametrize(
    "lie",
    [
        (401, b""),
        (403, b'{"forbidden": {"code": 403, "message": "no"}}'),
        (404, b"<html>"),
        (404, b"{}"),
        (404, b'{"itemNotFound": {"code": 404, "message": "The resource could not be found."}}'),
        (404, ABSENT % B.encode()),
        (404, ABSENT % f"/servers/{A}".encode()),
        (410, ABSENT % A.encode()),
        (500, b""),
        (503, ABSENT % A.encode()),
        (301, b""),
        (200, b""),
        (200, b"[]"),
        (200, b'{"server": {"id": "' + A.encode() + b'", "status": "UNKNOWN"}}'),
    ],
    ids=str,
)
def test_what_is_no_answer_about_this_very_instance_is_no_absence(cloud, nova, lie):
    cloud.put(A, created=BUILT)
    cloud.lies[SHOW] = lie
    with pytest.raises(Unavailable) as raised:
        nova.instance(A, project="blue")
    assert "secret-of-tatu" not in str(raised.value)


@pytest.mark.parametrize("path", [f"{SHOW}/os-instance-actions", "/network/v2.0/"])
@pytest.mark.parametrize("lie", [(404, ABSENT % A.encode()), (500, b""), (200, b"{}")], ids=str)
def test_half_an_answer_is_none(cloud, nova, path, lie):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    cloud.lies[path] = lie
    with pytest.raises(Unavailable):
        nova.instance(A, project="blue")


def test_another_server_than_was_asked_for_is_no_answer(cloud, nova):
    cloud.put(A, created=BUILT)
    cloud.servers[A]["id"] = B
    with pytest.raises(Unavailable, match="another server"):
        nova.instance(A, project="blue")


def test_a_project_that_lets_us_not_in_is_no_absence(cloud, nova):
    cloud.put(A, created=BUILT)
    cloud.projects.discard("blue")
    with pytest.raises(Unavailable, match="tatu-inventory"):
        nova.instance(A, project="blue")


def test_a_token_of_another_project_proves_no_absence(into):
    """As an application credential would give it, whatever project is asked for."""
    own = into("service")
    elsewhere = SignIns(lambda project: own)
    found = Nova(session=Session(timeout=5), auth=own, sign_ins=elsewhere, where=WHERE, at_once=8)
    with pytest.raises(Unavailable, match="another project"):
        found.instance(A, project="blue")


def test_a_page_that_fails_ends_no_list(cloud, nova):
    for n in range(5):
        cloud.put(f"{n}aaaaaaa-0000-4000-8000-000000000001", created=BUILT)
    listed = nova.instances()
    assert next(listed)
    cloud.lies["/compute/v2.1/servers?"] = (500, b"")
    with pytest.raises(Unavailable):
        list(listed)


def test_a_cloud_that_is_away_is_no_answer(cloud, nova):
    cloud.close()
    with pytest.raises(Unavailable):
        nova.instance(A, project="blue")
    with pytest.raises(Unavailable):
        nova.check()
    with pytest.raises(Unavailable):
        list(nova.instances())
    cloud.close = lambda: None


@pytest.mark.parametrize("part", ["/compute", "/network", "/v3"])
def test_while_a_service_hangs_one_waits_for_it_and_all_others_are_told_at_once(cloud, nova, part):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    cloud.put(B, created=BUILT, addresses=["10.0.0.6"], project="red")
    cloud.away = part
    with pytest.raises(Unavailable):
        nova.instance(A, project="blue")
    cloud.away, cloud.hanging = "nothing", part
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(nova.instance, A, project="blue")
        try:
            assert cloud.reached.wait(10)
            asked = len([path for path in cloud.asked if path.startswith(part)])
            for server, project in ((A, "blue"), (B, "red")):
                with pytest.raises(Unavailable, match="does not answer"):
                    nova.instance(server, project=project)
            assert len([path for path in cloud.asked if path.startswith(part)]) == asked
        finally:
            cloud.answers.set()
        waiting.result(10)
    nova.instance(B, project="red")


def test_a_token_that_is_good_yet_needs_no_keystone(cloud, nova):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    nova.instance(A, project="blue")
    cloud.away = "/v3"
    with pytest.raises(Unavailable):
        nova.instance(A, project="red")
    assert nova.instance(A, project="blue").id == A


def crowding(pool, nova, servers, project="blue", *, refused):
    """Ask about all at once while Nova hangs; return who still waits when so many were refused."""
    asked = [pool.submit(nova.instance, server, project=project) for server in servers]
    told = list(islice(as_completed(asked, 20), refused))
    for each in told:
        with pytest.raises(Unavailable, match="too many ask Nova at once"):
            each.result()
    return [each for each in asked if each not in told]


def test_of_a_crowd_some_are_answered_some_wait_and_the_rest_is_told_at_once(
    cloud, into, monkeypatch
):
    """Nova answers none of 200 in time, and they keep every thread; nor may one keep all out."""
    monkeypatch.setattr(places, "PATIENCE", 20)
    crowd = Nova(
        session=Session(timeout=20),
        auth=into("service"),
        sign_ins=SignIns(into),
        where=WHERE,
        at_once=2,
    )
    blue, red = ([f"{n}{name}" for n in range(10)] for name in ("-blue", "-red"))
    for project, servers in (("blue", blue), ("red", red)):
        for server in servers:
            cloud.put(server, created=BUILT, project=project)
        crowd.instance(servers[0], project=project)
    cloud.hanging = "/compute"
    before = len(cloud.asked)
    with ThreadPoolExecutor(40) as pool:
        try:
            waiting = crowding(pool, crowd, blue[:1] * 5, refused=3)
            waiting += crowding(pool, crowd, blue[1:], refused=7)
            waiting += crowding(pool, crowd, red, project="red", refused=8)
            assert len(cloud.asked) <= before + 2
        finally:
            cloud.answers.set()
        assert {each.result(20).built_at for each in waiting} == {BUILT}
    assert not crowd._places._seated


def test_nobody_waits_longer_for_a_place_than_leaves_time_for_the_answer(monkeypatch):
    monkeypatch.setattr(places, "PATIENCE", 0.01)
    few = places.Places("Nova", 1)
    with few.place("blue", A), pytest.raises(Unavailable, match="too many"), few.place("blue", B):
        raise AssertionError("there was but one place")
    for _ in range(4):  # whoever was told to try again has left no mark
        with few.place("blue", B):
            pass


@pytest.mark.parametrize("what", ["ports", "floatingips"])
def test_a_list_of_addresses_that_neutron_cuts_off_is_no_answer(cloud, nova, what):
    cloud.put(A, created=BUILT, addresses=["10.0.0.5"])
    links = [{"rel": "next", "href": "https://neutron.example"}]
    whole = json.dumps({what: cloud.ports if what == "ports" else []}).encode()
    cut_off = json.dumps({what: json.loads(whole)[what], f"{what}_links": links}).encode()
    cloud.lies[f"/network/v2.0/{what}"] = (200, whole)
    assert nova.instance(A, project="blue").addresses == ("10.0.0.5",)
    cloud.lies[f"/network/v2.0/{what}"] = (200, cut_off)
    with pytest.raises(Unavailable, match="all addresses"):
        nova.instance(A, project="blue")


def test_the_sign_ins_that_were_used_last_are_kept(into):
    made = []
    kept = SignIns(lambda project: made.append(project) or into(project))
    for n in range(300):
        kept.of(f"p{n}")
    kept.of("p299")
    kept.of("p0")
    assert (len(made), made[-1]) == (301, "p0")


# --- its configuration

CONF = """\
[DEFAULT]
api_endpoint = https://tatu.example
[inventory]
driver = nova
[inventory_nova]
"""
PASSWORD = """\
auth_type = password
auth_url = https://keystone.example/v3
username = tatu
password = x
user_domain_name = Default
project_name = service
project_domain_name = Default
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "auth_type is required"),
        ("auth_type = nothing\n", "no such plugin"),
        ("auth_type = none\n", "no project"),
        (f"{PASSWORD}wrong = 1\n", "wrong"),
        (f"{PASSWORD}interface = secret\n", "interface"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path, text, says):
    file = tmp_path / "tatu.conf"
    file.write_text(CONF + text)
    with pytest.raises(Malformed, match=says):
        bootstrap.check_config(config.load([f"--config-file={file}"]))


def test_a_configuration_for_a_user_with_a_password_is_taken(tmp_path):
    file = tmp_path / "tatu.conf"
    file.write_text(CONF + PASSWORD)
    bootstrap.check_config(config.load([f"--config-file={file}"]))
