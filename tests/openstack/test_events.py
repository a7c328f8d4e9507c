"""Every way to lose a permission in a real Keystone ends in exactly the revocations it calls for."""

import json
import time

import pytest
from oslo_config import cfg

from tatu import bootstrap
from tatu.drivers.events import oslo
from tatu.drivers.identity.keystone import SECTION
from tests.openstack.deployment import deployed
from tests.openstack.losses import (
    LOSSES,
    PATIENCE,
    a_project,
    a_role_of_a_user,
    a_user,
    an_enabled_user,
    keep_keys_at_home,
    opened,
    start,
)

WORK = 1.0
"""Seconds of the worker's processor time for a loss; by the clock it is `make bench` that measures."""


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    trusts = f"[{SECTION}]\nallow_trust_tokens = true\n"
    with deployed(identity_lab, tmp_path_factory.mktemp("events"), trusts) as found:
        keep_keys_at_home(found)
        start(found)
        yield found


@pytest.fixture(scope="module")
def world(identity_lab, tatu):
    with opened(identity_lab, tatu) as found:
        yield found


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_who_loses_what_it_took_has_no_certificate_soon_and_nobody_else_is_hit(world, tatu, loss):
    doomed, spared, lose = loss(world)
    world.kept |= set(spared)
    before = tatu.processor("worker")
    lose()
    world.wait(*doomed)
    assert tatu.processor("worker") - before < WORK
    assert not any(map(world.revoked, world.kept))


def fence(w):
    """Return when all that was told before was surely handled: a loss that came after is swept."""
    doomed, _, lose = a_role_of_a_user(w)
    lose()
    return w.wait(*doomed)


def test_what_takes_nothing_away_revokes_nothing_and_leaves_no_trace(world):
    user, other = world.user("member"), world.user("member")
    group = world.group(other)
    certificates = [world.certificate(user), world.certificate(other)]
    fence(world)
    before = len(world.events("permission.ended"))
    world.cloud.change("user", user, name=f"renamed-{user[:8]}")
    world.cloud.change("project", world.project, description="another")
    world.cloud.change("group", group, description="another")
    world.cloud.put(f"/groups/{group}/users/{user}")
    world.cloud.assign("reader", f"projects/{world.project}", user=user)
    fence(world)

    assert len(world.events("permission.ended")) == before + 1  # the fence's own
    assert not any(map(world.revoked, certificates))


def test_a_deleted_project_has_no_authority_any_more(world):
    doomed, _, lose = a_project(world)
    ((project, _),) = doomed
    lose()
    until = time.monotonic() + PATIENCE
    while world.app.ledger.authorities.get(project).retired_at is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert world.revoked(doomed[0])


def test_a_credential_that_goes_with_a_role_unheard_is_found_by_comparing(world):
    role, user = world.cloud.make("role"), world.user("member")
    own = world.certificate(user)
    world.cloud.put(f"/projects/{world.project}/users/{user}/roles/{role}")
    _, token = world.cloud.credential(user, world.project, roles=[{"name": "member"}])
    lent = world.certificate(user, token=token)
    world.cloud.delete(f"/roles/{role}")
    fence(world)
    assert not world.revoked(lent)  # every role that it says is the user's still

    reconciliation = bootstrap.reconciliation(world.app)
    until = time.monotonic() + PATIENCE
    while (report := reconciliation.run()).skipped:  # the worker is at it
        assert time.monotonic() < until
        time.sleep(0.05)
    assert world.revoked(lent), report
    assert not any(map(world.revoked, [own, *world.kept]))


# --- the stream itself


@pytest.fixture
def speaking(tatu):
    """Speak to the topic as Keystone does."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    messaging = oslo.oslo_messaging
    messaging.get_notification_transport(conf, url="fake://")  # registers its options
    conf.set_override("control_exchange", "keystone")
    transport = messaging.get_notification_transport(conf, url=tatu.lab.transport_url)
    yield messaging.Notifier(transport, "identity.test", driver="messagingv2", topics=["tatu"])
    transport.cleanup()


def test_what_nobody_can_read_is_set_aside_and_stops_nothing(world, speaking):
    speaking.info({}, "identity.user.deleted", {"resource_info": {"not": "an id"}})
    speaking.info({}, "identity.role_assignment.deleted", "nothing")
    assert fence(world) < PATIENCE
    until = time.monotonic() + PATIENCE
    while len(found := world.events("notice.set-aside")) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert '"not": "an id"' in "".join(event["facts"]["content"] for event in found)


def test_what_is_told_while_no_worker_runs_waits_for_one_even_if_it_was_killed(world, tatu):
    doomed, spared, lose = a_role_of_a_user(world)
    others = an_enabled_user(world)
    tatu.kill("worker")
    try:
        lose()
        others[2]()
        assert not any(map(world.revoked, doomed))
    finally:
        start(tatu)
    world.wait(*doomed, *others[0])
    assert not any(map(world.revoked, [*spared, *others[1]]))


@pytest.mark.matrix
def test_the_message_bus_may_restart(world, tatu):
    cases = [a_role_of_a_user(world), a_user(world)]
    tatu.lab.stop("rabbitmq")
    tatu.lab.start_again("rabbitmq")
    for _, _, lose in cases:
        lose()
    world.wait(*(one for doomed, _, _ in cases for one in doomed))
    assert not any(world.revoked(one) for _, spared, _ in cases for one in spared)


def test_two_workers_share_what_is_told_and_one_stops_without_loss(tatu, speaking):
    start(tatu, "second")
    address = "203.0.113.99"  # nobody's: nobody has to be asked about it

    def tell():
        floating = {"floating_ip_address": address, "port_details": None}
        speaking.info({}, "floatingip.update.end", {"floatingip": floating})

    def handled(label):
        lines = (tatu.folder / f"{label}.log").read_text().splitlines()
        return [json.loads(line)["message"] for line in lines if f'"id":"{address}"' in line]

    def all_handled(count):
        until = time.monotonic() + PATIENCE
        while len(handled("worker")) + len(handled("second")) < count:
            assert time.monotonic() < until, (handled("worker"), handled("second"))
            time.sleep(0.05)

    told = 0
    while not handled("second"):  # until it has begun to listen
        tell()
        told += 1
        all_handled(told)
    for _ in range(100):
        tell()
    tatu.stop("second")
    all_handled(told + 100)
    both = handled("worker") + handled("second")
    assert len(both) == len(set(both)) == told + 100
