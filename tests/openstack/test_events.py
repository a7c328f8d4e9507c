"""Every way to lose a permission in a real Keystone ends in exactly the revocations it calls for."""

import configparser
import json
import os
import time
from dataclasses import dataclass, field

import pytest
from oslo_config import cfg

from tatu import bootstrap
from tatu.config import load
from tatu.core.audit import SYSTEM
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace
from tatu.drivers.events import oslo
from tatu.drivers.identity.keystone import SECTION
from tatu.ports import Request
from tests.fakes.deployment import Key
from tests.openstack.clouds import Cloud
from tests.openstack.deployment import deployed

SOON = 2.0
"""Seconds within which a loss is in the KRL; as often as much where many processes want the machine."""

PATIENCE = 60.0


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    trusts = f"[{SECTION}]\nallow_trust_tokens = true\n"
    with deployed(identity_lab, tmp_path_factory.mktemp("events"), trusts) as found:
        keep_keys_at_home(found)
        start(found)
        yield found


def start(tatu, label="worker"):
    """Start a worker, and wait until it works."""
    log = tatu.folder / f"{label}.log"
    before = log.read_text().count('"working"') if log.exists() else 0
    tatu.start("worker", label)
    tatu.wait(lambda: log.read_text().count('"working"') > before, label, seconds=2 * PATIENCE)


def keep_keys_at_home(tatu):
    """Have no Barbican in the way: many projects are made here, and keys are another's test."""
    parser = configparser.RawConfigParser()
    parser.read(tatu.cloud_conf)
    for section in ("keystore", "key_manager", "barbican"):
        parser.remove_section(section)
    with tatu.cloud_conf.open("w") as file:
        parser.write(file)
    with tatu.conf.open("a") as file:
        file.write(f"[keystore_local]\nkek_file = {tatu.folder}/kek\n")


@pytest.fixture(scope="module")
def world(identity_lab, tatu):
    config = load(tatu.config)
    ledger = bootstrap.open_ledger(config)
    yield World(Cloud(identity_lab), bootstrap.build(config, ledger))
    ledger.close()


@dataclass
class World:
    """A cloud with one project that has an authority, and the service itself, in this process."""

    cloud: Cloud
    app: bootstrap.Application
    kept: set = field(default_factory=set)

    def __post_init__(self):
        self.project = self.new_project()

    def new_project(self, **parts):
        """A project with an authority."""
        project = self.cloud.make("project", **parts)
        self.app.authorities.create(SYSTEM, project, project, request_id="")
        return project

    def user(self, *roles, project=None, **parts):
        """A user with roles in a project."""
        user = self.cloud.make("user", **parts)
        for role in roles:
            self.cloud.assign(role, f"projects/{project or self.project}", user=user)
        return user

    def group(self, *users):
        group = self.cloud.make("group")
        for user in users:
            self.cloud.put(f"/groups/{group}/users/{user}")
        return group

    def certificate(self, user, project=None, *, token=None):
        """Certify a new key of a user; return where the certificate is in the ledger."""
        project = project or self.project
        request = Request(
            method="POST",
            path=f"/v2/authorities/{project}/user-certificates",
            body_digest="",
            headers={"x-auth-token": token or self.cloud.token(user, project_id=project)},
        )
        identity = self.app.identities.authenticate(request)
        key = Key()
        wanted = Wanted(subject_key=key.public)
        proof = wanted.proof_message(
            deployment=self.app.deployment, authority=project, subject=identity.subject
        )
        issued = self.app.issuance.user_certificate(
            request,
            identity,
            project,
            wanted,
            key.sign(Namespace.SUBJECT, proof),
            request_id="",
        )
        return project, issued.certificate.serial

    def revoked(self, certificate):
        """Whether a certificate is in the KRL that a host would get now."""
        project, serial = certificate
        facts = self.app.ledger.revocations.facts(project, self.app.clock())
        return any(serial in serials for serials in facts.serials.values())

    def wait(self, *certificates):
        """Wait until certificates are revoked; return the seconds that it took."""
        began = time.monotonic()
        while not all(map(self.revoked, certificates)):
            assert time.monotonic() - began < PATIENCE, [*map(self.revoked, certificates)]
            time.sleep(0.02)
        return time.monotonic() - began

    def events(self, action):
        found, after = [], 0
        while links := self.app.ledger.audit.read(after=after, limit=1000):
            after = links[-1].sequence
            found += [json.loads(link.body) for link in links]
        return [event for event in found if event["action"] == action]


# --- what may be lost: each makes certificates, and returns those that shall end, those that shall
# not, and how to lose


def a_role_of_a_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.unassign("member", f"projects/{w.project}", user=lost)


def one_of_two_roles(w):
    user = w.user("member", "manager")
    both = w.certificate(user)
    return [both], [], lambda: w.cloud.unassign("manager", f"projects/{w.project}", user=user)


def a_role_of_a_group(w):
    inside, both = w.user(), w.user("member")
    group = w.group(inside, both)
    where = f"projects/{w.project}"
    w.cloud.assign("member", where, group=group)
    doomed, spared = [w.certificate(inside)], [w.certificate(both)]
    path = f"/{where}/groups/{group}/roles/{w.cloud.role('member')}"
    return doomed, spared, lambda: w.cloud.delete(path)


def _inherited(w, who):
    role = w.cloud.role("member")
    path = f"/OS-INHERIT/domains/default/{who}/roles/{role}/inherited_to_projects"
    w.cloud.put(path)
    return lambda: w.cloud.delete(path)


def an_inherited_role_of_a_user(w):
    lost, kept = w.user(), w.user("member")
    lose = _inherited(w, f"users/{lost}")
    return [w.certificate(lost)], [w.certificate(kept)], lose


def an_inherited_role_of_a_group(w):
    lost, kept = w.user(), w.user("member")
    lose = _inherited(w, f"groups/{w.group(lost, kept)}")
    return [w.certificate(lost)], [w.certificate(kept)], lose


def a_membership(w):
    lost, kept = w.user(), w.user()
    group = w.group(lost, kept)
    w.cloud.assign("member", f"projects/{w.project}", group=group)
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.delete(f"/groups/{group}/users/{lost}")


def a_group(w):
    inside, both = w.user(), w.user("member")
    group = w.group(inside, both)
    w.cloud.assign("member", f"projects/{w.project}", group=group)
    doomed, spared = [w.certificate(inside)], [w.certificate(both)]
    return doomed, spared, lambda: w.cloud.delete(f"/groups/{group}")


def an_enabled_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost), w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.change("user", lost, enabled=False)


def a_user(w):
    lost, kept = w.user("member"), w.user("member")
    doomed, spared = [w.certificate(lost)], [w.certificate(kept)]
    return doomed, spared, lambda: w.cloud.delete(f"/users/{lost}")


def _engineers(w):
    role = w.cloud.make("role", name=f"eng{time.monotonic_ns() % 10**9}")
    name = w.cloud.get(f"/roles/{role}")["role"]["name"]
    return role, [w.certificate(w.user(name))], [w.certificate(w.user("member"))]


def a_role(w):
    role, doomed, spared = _engineers(w)
    return doomed, spared, lambda: w.cloud.delete(f"/roles/{role}")


def a_roles_name(w):
    role, doomed, spared = _engineers(w)
    return doomed, spared, lambda: w.cloud.change("role", role, name=f"x{role[:8]}")


def _other_project(w, **parts):
    other = w.new_project(**parts)
    user = w.user("member", project=other)
    w.cloud.assign("member", f"projects/{w.project}", user=user)
    return other, [w.certificate(user, other)], [w.certificate(user)]


def an_enabled_project(w):
    other, doomed, spared = _other_project(w)
    return doomed, spared, lambda: w.cloud.change("project", other, enabled=False)


def a_project(w):
    other, doomed, spared = _other_project(w)
    return doomed, spared, lambda: w.cloud.delete(f"/projects/{other}")


def _domain(w):
    domain = w.cloud.make("domain")
    _, doomed, spared = _other_project(w, domain_id=domain)
    inside = w.user("member", domain_id=domain)
    return domain, [*doomed, w.certificate(inside)], spared


def an_enabled_domain(w):
    domain, doomed, spared = _domain(w)
    return doomed, spared, lambda: w.cloud.change("domain", domain, enabled=False)


def a_domain(w):
    domain, doomed, spared = _domain(w)

    def lose():
        w.cloud.change("domain", domain, enabled=False)
        w.cloud.delete(f"/domains/{domain}")

    return doomed, spared, lose


def an_application_credential(w):
    user = w.user("member")
    credential, token = w.cloud.credential(user, w.project, roles=[{"name": "member"}])
    doomed, spared = [w.certificate(user, token=token)], [w.certificate(user)]
    session = w.cloud.session(user, project_id=w.project)
    path = f"{w.cloud.url}/users/{user}/application_credentials/{credential}"
    return doomed, spared, lambda: session.delete(path)


def a_trust(w):
    user, other = w.user("member"), w.user("member")
    trust, token = w.cloud.trust(user, other, w.project, impersonation=True)
    doomed, spared = [w.certificate(user, token=token)], [w.certificate(user)]
    session = w.cloud.session(user, project_id=w.project)
    return doomed, spared, lambda: session.delete(f"{w.cloud.url}/OS-TRUST/trusts/{trust}")


LOSSES = [
    an_application_credential,
    a_role_of_a_user,
    one_of_two_roles,
    a_role_of_a_group,
    an_inherited_role_of_a_user,
    an_inherited_role_of_a_group,
    a_membership,
    a_group,
    an_enabled_user,
    a_user,
    a_role,
    a_roles_name,
    an_enabled_project,
    a_project,
    an_enabled_domain,
    a_domain,
    a_trust,
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_who_loses_what_it_took_has_no_certificate_soon_and_nobody_else_is_hit(world, loss):
    doomed, spared, lose = loss(world)
    world.kept |= set(spared)
    lose()
    took = world.wait(*doomed)
    assert not any(map(world.revoked, world.kept))
    assert took < SOON * max(1, os.getloadavg()[0])


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
