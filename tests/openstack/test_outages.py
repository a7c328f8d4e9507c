"""Keystone, Barbican, RabbitMQ and the database go and come back under load; hostile callers get nothing.

Nobody lends a hand: of Tatu's processes none is started again, but where that is the test.
"""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import pytest
from keystoneauth1.exceptions import ConnectFailure

from tatu import bootstrap, config
from tatu.core import krl
from tatu.core.certificate import CertificateType
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace
from tatu.ports import CertificateFilter
from tatu.service.paging import every
from tests.api.keys import ClientKey
from tests.fakes.threads import Crowd
from tests.lab import databases
from tests.lab.server import wait_until
from tests.openstack.clouds import Cloud
from tests.openstack.deployment import deployed

CLIENTS = 3
PAUSE = 0.1
"""Seconds between two rounds of a client: the services that come back need the machine, too."""

PATIENCE = 180.0

UNAVAILABLE, UNAUTHENTICATED, DENIED, NOT_FOUND = (
    f"urn:tatu:problem:{slug}"
    for slug in ("unavailable", "unauthenticated", "denied", "not-found")
)

CONFIG = """\
[database]
connection = {database}
[reconcile]
interval = 10
[identity_keystone]
timeout = 30
[keystore_castellan]
timeout = 30
[rates]
certificates_account = 1000000
revocations_account = 1000000
"""


def ask(url, method, path, body=None, token=""):
    """Ask once; return the status and what was answered, read if it is JSON."""
    headers = {"Content-Type": "application/json", "X-Auth-Token": token}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error)


def _read(answer):
    data = answer.read()
    return json.loads(data) if "json" in answer.headers["Content-Type"] else data


@dataclass
class Member:
    """Somebody who signed in to a project, and what they ask of Tatu."""

    world: "World"
    user: str
    token: str

    def ask(self, method, path, body=None):
        path = f"/v2/authorities/{self.world.project}{path}"
        return ask(self.world.tatu.url, method, path, body, self.token)

    def issue(self):
        key = ClientKey()
        proof = Wanted(subject_key=key.public).proof_message(
            deployment=self.world.deployment, authority=self.world.project, subject=self.user
        )
        body = {"public_key": key.line, "proof": key.sign(Namespace.SUBJECT, proof)}
        return self.ask("POST", "/user-certificates", body)

    def revoke(self, serial):
        return self.ask("POST", "/revocations", {"serial": serial, "reason": "lost"})


@dataclass
class World:
    """A deployment with a project in a real cloud."""

    tatu: object
    cloud: Cloud
    deployment: str = ""
    project: str = ""

    @property
    def lab(self):
        return self.tatu.lab

    def user(self, *roles, project=None):
        user = self.cloud.make("user")
        for role in roles:
            self.cloud.assign(role, f"projects/{project or self.project}", user=user)
        return user

    def member(self, *roles):
        user = self.user(*(roles or ("member",)))
        return self.again(Member(self, user, ""))

    def again(self, member):
        """The same with another token, which Tatu does not know yet."""
        return Member(self, member.user, self.cloud.token(member.user, project_id=self.project))

    def lose(self, member):
        """Take a role from somebody; the answer may get lost."""
        with contextlib.suppress(ConnectFailure):
            self.cloud.unassign("member", f"projects/{self.project}", user=member.user)

    def roles(self, member):
        query = f"user.id={member.user}&scope.project.id={self.project}"
        return self.cloud.get(f"/role_assignments?{query}")["role_assignments"]

    def public(self, what):
        return ask(self.tatu.url, "GET", f"/v2/authorities/{self.project}/{what}")

    def krl(self):
        """The serials that hosts do not take."""
        status, body = self.public("krl")
        assert status == 200, body
        return {
            serial
            for serials in krl.decode(body).serials.values()
            for first, last in serials.runs
            for serial in range(first, last + 1)
        }

    def readiness(self):
        return ask(self.tatu.url, "GET", "/readyz")

    def part(self, name):
        """What readiness says of a part; asked once a second."""
        return self.readiness()[1]["checks"][name]

    def worker_says(self, what):
        return (self.tatu.folder / "worker.log").read_text().count(what)


@pytest.fixture(scope="module")
def database():
    with databases.own_postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def world(identity_lab, database, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outages")
    with deployed(identity_lab, folder, CONFIG.format(database=database.url)) as tatu:
        tatu.start("api").start("worker")
        made = World(tatu, Cloud(identity_lab))
        made.deployment = ask(tatu.url, "GET", "/v2")[1]["deployment"]
        made.project = made.cloud.make("project")
        status, answer = ask(tatu.url, "POST", "/v2/authorities", {}, made.member("manager").token)
        assert status == 201, answer
        tatu.wait(lambda: made.worker_says('"working"'), "worker", 60)
        yield made


@pytest.fixture(scope="module")
def ledger(world):
    opened = bootstrap.open_ledger(config.load(world.tatu.config))
    yield opened
    opened.close()


class Load(Crowd):
    """Clients that ask for certificates, revoke some, and read what hosts read; they remember it."""

    def __init__(self, members):
        super().__init__(*members)
        self.issued = {}
        self.revoked = set()
        self.answers = Counter()
        self.failures = []

    def _run(self, member):
        number = 0
        try:
            while not self._stopped.wait(PAUSE):
                number += 1
                self._issue(member, revoke=number % 3 == 0)
                for what in ("krl", "statement"):
                    self._remember(what, *member.world.public(what))
        except Exception as error:  # noqa: BLE001  the test must see it
            self.failures.append(error)

    def _issue(self, member, *, revoke):
        status, answer = member.issue()
        self._remember("issue", status, answer)
        if status != 201:
            return
        with self._lock:
            assert answer["serial"] not in self.issued
            self.issued[answer["serial"]] = answer["certificate"]
        if revoke:
            status, answer = member.revoke(answer["serial"])
            self._remember("revoke", status, answer)
            if status == 200:
                with self._lock:
                    self.revoked |= set(answer["revoked"])

    def _remember(self, what, status, answer):
        with self._lock:
            self.answers[what, status] += 1
            if status >= 400:
                self.answers[what, status, answer["detail"]] += 1

    def count(self, what, status):
        return self.answers[what, status]

    def more(self, what, status):
        """Wait until something is answered several times more."""
        seen = self.count(what, status)
        until(lambda: self.failures or self.count(what, status) > seen + CLIENTS)
        assert self.failures == []

    def only(self, *allowed):
        """Nothing was answered but these, and nothing failed."""
        assert self.failures == []
        assert {key for key in self.answers if len(key) == 2} <= set(allowed), self.answers


HEARD = '"event":"notice"'
"""What the worker's log has for each message that concerned Tatu."""

ALL_WELL = [("issue", 201), ("revoke", 200), ("krl", 200), ("statement", 200)]


@pytest.fixture(scope="module")
def members(world):
    return [world.member() for _ in range(CLIENTS)]


@pytest.fixture
def load(world, ledger, members):
    """A load that ends well: what it was told is in the ledger and in the KRL, all of it."""
    with Load(members) as running:
        running.more("revoke", 200)
        yield running
    wanted = CertificateFilter(authorities=(world.project,), type=CertificateType.USER)
    kept = {found.serial: found.line for found in every(partial(ledger.certificates.list, wanted))}
    assert running.issued.items() <= kept.items()
    assert running.revoked <= world.krl()


@contextlib.contextmanager
def away(world, name):
    """Stop a service, and start it again when the block ends, wherever it ends."""
    world.lab.stop(name)
    try:
        yield
    finally:
        world.lab.start_again(name)


def refused(answer, status, problem, reason=""):
    """It was refused, and told why."""
    assert (answer[0], answer[1]["type"]) == (status, problem)
    assert answer[1]["detail"]
    assert reason in answer[1]["detail"]


def until(holds):
    wait_until(holds, PATIENCE)


# --- what goes and comes back


def test_while_keystone_is_away_only_whom_tatu_knows_is_served(world, members, load):
    stranger = world.again(members[0])
    with away(world, "keystone"):
        refused(stranger.issue(), 503, UNAVAILABLE, "Keystone")
        load.more("issue", 201)
        load.more("revoke", 503)
        load.more("statement", 200)
        until(lambda: "Keystone" in world.part("identity"))
        assert world.readiness()[0] == 200
    load.more("revoke", 200)
    assert stranger.issue()[0] == 201
    until(lambda: world.part("identity") == "ok")
    load.only(*ALL_WELL, ("revoke", 503))


def test_while_barbican_is_away_keys_that_were_used_go_on_signing(world, load):
    other = world.cloud.make("project")
    manager = world.cloud.token(world.user("manager", project=other), project_id=other)

    def create():
        return ask(world.tatu.url, "POST", "/v2/authorities", {}, manager)

    with away(world, "barbican"):
        load.more("revoke", 200)
        load.more("statement", 200)
        refused(create(), 503, UNAVAILABLE, "key manager")
    until(lambda: create()[0] == 201)
    load.more("revoke", 200)
    load.only(*ALL_WELL)


def test_an_api_that_starts_without_barbican_serves_what_was_signed_and_then_recovers(world):
    member = world.member()
    serial, spare = (member.issue()[1]["serial"] for _ in range(2))
    assert member.revoke(serial)[0] == 200
    before = world.public("statement")
    with away(world, "barbican"):
        world.tatu.stop("api")
        world.tatu.start("api")
        assert world.public("statement") == before
        assert serial in world.krl()
        assert "key manager" in world.part("keystore")
        assert world.readiness()[0] == 200
        refused(member.issue(), 503, UNAVAILABLE)
        # a revocation stands at once; hosts are told when it can be signed
        assert member.revoke(spare) == (200, {"revoked": [spare], "krl_version": None})
        refused(world.public("statement"), 503, UNAVAILABLE)
    until(lambda: world.public("statement")[0] == 200)
    assert {serial, spare} <= world.krl()
    assert member.issue()[0] == 201


def test_a_loss_that_keystone_could_tell_nobody_is_found_by_comparing(world, load):
    loser, heard = world.member(), world.member()
    serial = loser.issue()[1]["serial"]
    with away(world, "rabbitmq"):
        # Keystone removes the role, waits for the bus, and dies before it could tell of it
        removal = threading.Thread(target=world.lose, args=(loser,))
        removal.start()
        until(lambda: not world.roles(loser))
        with away(world, "keystone"):
            removal.join()
        load.more("revoke", 200)
        refused(loser.revoke(serial), 401, UNAUTHENTICATED)
        until(lambda: serial in world.krl())
    assert loser.issue()[0] == 401
    before = world.worker_says(HEARD)
    world.lose(heard)
    until(lambda: world.worker_says(HEARD) > before)
    load.only(*ALL_WELL, ("revoke", 503))


@pytest.mark.matrix
def test_a_loss_that_was_in_a_lost_queue_is_found_when_a_worker_starts(world):
    loser, kept = world.member(), world.member()
    serial, spared = loser.issue()[1]["serial"], kept.issue()[1]["serial"]
    world.tatu.kill("worker")
    try:
        world.lose(loser)
        with away(world, "rabbitmq"):
            pass
        assert serial not in world.krl()
    finally:
        world.tatu.start("worker")
    until(lambda: serial in world.krl())
    assert spared not in world.krl()
    refused(loser.issue(), 401, UNAUTHENTICATED)


def test_while_the_database_is_away_nothing_is_answered_and_no_loss_is_forgotten(
    world, load, database
):
    loser = world.member()
    serial = loser.issue()[1]["serial"]
    database.stop()
    try:
        for what in ("issue", "statement", "krl"):
            load.more(what, 503)
        until(lambda: world.readiness()[0] == 503)
        assert ask(world.tatu.url, "GET", "/healthz")[0] == 200
        world.lose(loser)
    finally:
        database.start()
    load.more("revoke", 200)
    until(lambda: serial in world.krl())
    until(lambda: world.readiness()[0] == 200)
    load.only(*ALL_WELL, *((what, 503) for what, _ in ALL_WELL))


# --- hostile callers


def test_a_token_that_is_worth_nothing_gets_nothing(world):
    known = world.member()
    unknown = world.again(known)
    serial = known.issue()[1]["serial"]
    for member in (known, unknown):
        world.cloud.delete("/auth/tokens", **{"X-Subject-Token": member.token})
    for member in (
        unknown,
        replace(known, token=""),
        replace(known, token="gAAAAA" + "x" * 200),
        replace(known, token=world.lab.admin_password),
    ):
        answer = member.issue()
        refused(answer, 401, UNAUTHENTICATED)
        assert not member.token or member.token not in json.dumps(answer[1])
    # what is remembered for a minute is not enough to change anything, and is forgotten then
    refused(known.revoke(serial), 401, UNAUTHENTICATED)
    refused(known.issue(), 401, UNAUTHENTICATED)
    assert serial not in world.krl()


def test_a_token_of_another_scope_gets_nothing_and_that_is_written_down(world, ledger):
    elsewhere = world.cloud.make("project")
    stranger = world.user("manager", project=elsewhere)
    reader, admin = world.user("reader"), world.user()
    world.cloud.assign("admin", "system", user=admin)
    world.cloud.assign("admin", "domains/default", user=admin)
    for user, scope, status, problem, action in (
        (stranger, {"project_id": elsewhere}, 404, NOT_FOUND, "request.denied"),
        (reader, {"project_id": world.project}, 403, DENIED, "request.denied"),
        (admin, {"domain_id": "default"}, 404, NOT_FOUND, "request.denied"),
        (admin, {"system_scope": "all"}, 403, DENIED, "certificate.denied"),
    ):
        member = Member(world, user, world.cloud.token(user, **scope))
        before, _ = ledger.audit.head()
        refused(member.issue(), status, problem)
        written = [json.loads(link.body) for link in ledger.audit.read(after=before, limit=100)]
        assert [event["action"] for event in written if event["actor"]["id"] == user] == [action]


def test_a_user_who_was_disabled_gets_nothing_and_loses_what_there_was(world):
    member = world.member()
    serial = member.issue()[1]["serial"]
    world.cloud.change("user", member.user, enabled=False)
    until(lambda: serial in world.krl())
    refused(member.issue(), 401, UNAUTHENTICATED)
    refused(member.revoke(serial), 401, UNAUTHENTICATED)
