"""Instances that all boot at once: what Nova asks for each, and how each then enrols.

Booting takes the lab's Nova seconds for each, so a few are booted, and the others are copied in
Nova's database, with ports of their own in Neutron: to whoever asks they are instances like any.
"""

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median
from typing import Any

from openstack.connection import Connection
from sqlalchemy import text
from tests.lab.openstack import guest
from tests.lab.openstack.lab import Lab
from tests.lab.openstack.site import REGION

from bench import cloud
from bench.cloud import CloudTatu
from bench.report import Context, Row
from bench.tatu import Key
from tatu.agent import platform
from tatu.agent.daemon import Pace
from tatu.core import enrolment
from tatu.core.certificate import Certificate
from tatu.core.sshsig import Namespace
from tatu.store.database import make_engine

_SECTION = "200 boots at once"
_BOOTS = 200
_BOOTED = 3
_BULK = 20  # ports that Neutron makes at a time
_WINDOW = 600.0
"""Seconds after its build for which an instance is admitted: [vendordata] window."""

_READ = 10.0
"""Seconds that Nova waits for vendordata: vendordata_dynamic_read_timeout."""

_PATIENCE = 60.0  # seconds that an agent waits for the answer to its enrolment
_COPIED = (
    ("instances", "uuid"),
    ("instance_extra", "instance_uuid"),
    ("instance_info_caches", "instance_uuid"),
    ("instance_system_metadata", "instance_uuid"),
    ("instance_actions", "instance_uuid"),
    ("block_device_mapping", "instance_uuid"),
    ("nova_api.instance_mappings", "instance_uuid"),
)
"""Nova's tables that know an instance, each with the column that names it."""


@dataclass(frozen=True, kw_only=True)
class Boot:
    """Seconds to the vendordata by which an instance enrolled, and to its certificate.

    `asked` is how often it asked for them.
    """

    vendordata: float
    whole: float
    asked: int


def measure(context: Context) -> Iterator[Row]:
    """Ask for the vendordata of all at once, and redeem each token as soon as it is there."""
    with ExitStack() as stack:
        lab = stack.enter_context(cloud.lab(context, "boots", "compute"))
        tatu = CloudTatu(folder=context.folder / "boots", lab=lab, tier="compute")
        tatu.prepare()
        stack.enter_context(tatu.serving())
        caller = tatu.caller()
        context.say("boots: making instances")
        session = tatu.cloud.session(caller.subject, project_id=caller.authority)
        tenant = Connection(session=session, region_name=REGION)
        instances = _instances(lab, tenant, caller.authority)
        user = tatu.vendordata_user
        nova = lab.session("service", user["username"], user["password"]).get_token()
        context.say("boots: all at once")
        start = threading.Barrier(_BOOTS)
        boots = _Boots(
            tatu=tatu, project=caller.authority, deployment=caller.deployment, token=nova
        )
        with ThreadPoolExecutor(_BOOTS) as pool:
            booted = pool.map(lambda each: boots.boot(each, start), instances)
            found = [each for each in booted if each is not None]
        lost = set(instances) - _certified(tatu)
    again = sum(each.asked - 1 for each in found)
    yield Row(
        section=_SECTION,
        name="instances that have no host certificate in the end",
        unit="",
        runs=[len(lost)],
        goal=0,
        note=f"inventory: {_BOOTED} servers of a real Nova and {_BOOTS - _BOOTED} copies in its"
        f" database, ports of a real Neutron; asked again: {again} times",
    )
    for name, seconds in (
        ("from the question for vendordata to the host certificate", [b.whole for b in found]),
        ("vendordata alone", [b.vendordata for b in found]),
        ("enrolment alone", [b.whole - b.vendordata for b in found]),
    ):
        taken = sorted(seconds)
        yield Row(
            section=_SECTION,
            name=name,
            unit="s",
            runs=taken,
            p50=1000 * median(taken),
            p99=1000 * taken[len(taken) * 99 // 100],
        )


@dataclass(frozen=True, kw_only=True)
class _Boots:
    """What all instances of a project have in common."""

    tatu: CloudTatu
    project: str
    deployment: str
    token: str

    def boot(self, instance: str, start: threading.Barrier) -> Boot | None:
        """Do what Nova does for an instance that boots, and what the agent on it does.

        None when its window closed before it had a certificate.
        """
        key = Key()
        start.wait()
        began = time.perf_counter()
        for asked, pause in enumerate(platform.pauses(random.uniform), start=1):
            told = self._told(instance)
            vendordata = time.perf_counter() - began
            if told and self._enrol(instance, told["token"], key):
                whole = time.perf_counter() - began
                return Boot(vendordata=vendordata, whole=whole, asked=asked)
            rest = _rounds(pause)
            if time.perf_counter() + rest > began + _WINDOW:
                break
            time.sleep(rest)
        return None

    def _told(self, instance: str) -> dict[str, Any] | None:
        """Return what Nova is told, None when it is told nothing in time."""
        wanted = {"project-id": self.project, "instance-id": instance, "user-data": None}
        try:
            status, answer = self._post("/v2/vendordata/nova", wanted, self.token, timeout=_READ)
        except TimeoutError:
            return None
        if status not in (200, 503):
            raise RuntimeError(f"vendordata of {instance}: {status} {answer}")
        return answer if status == 200 else None

    def _enrol(self, instance: str, token: str, key: Key) -> bool:
        """Redeem a token; False when the agent is told to try again."""
        invitation = enrolment.EnrolmentToken.parse(token)
        facts = {"authority": self.project, "host": instance, "nonce": uuid.uuid4().hex * 2}
        message = enrolment.message(deployment=self.deployment, host_keys=[key.public], **facts)
        redemption = {
            **facts,
            "host_keys": [key.public.line],
            "mac": enrolment.request_mac(invitation.secret, message),
            "signatures": [key.signed(Namespace.ENROL, message)],
        }
        status, answer = self._post("/v2/enrolments", redemption)
        if status == 503:
            return False
        if status != 201:
            raise RuntimeError(f"enrolment of {instance}: {status} {answer}")
        (line,) = json.loads(answer["answer"])["certificates"]
        if instance not in Certificate.parse(line).contents.principals:
            raise RuntimeError(f"the certificate of {instance} is another's")
        return True

    def _post(
        self, path: str, body: object, token: str = "", *, timeout: float = _PATIENCE
    ) -> tuple[int, dict[str, Any]]:
        headers = self.tatu.credentials(token) if token else {}
        connection = HTTPConnection("127.0.0.1", self.tatu.port, timeout=timeout)
        try:
            sent = {**headers, "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def _rounds(pause: float) -> float:
    """Return the seconds of as many rounds as an agent makes until a pause is over."""
    pace, waited = Pace(), 0.0
    while waited < pause:
        waited += pace.polling * random.uniform(1 - pace.jitter, 1 + pace.jitter)
    return waited


def _certified(tatu: CloudTatu) -> set[str]:
    """Return the hosts of which the ledger has a certificate."""
    engine = make_engine(tatu.database, pool_size=1)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT host FROM certificates WHERE host <> ''"))
            return set(found.scalars())
    finally:
        engine.dispose()


def _instances(lab: Lab, tenant: Connection, project: str) -> Sequence[str]:
    admin = lab.cloud()
    _, private = guest.networks(tenant, guest.public_network(admin))
    networks = [{"uuid": private.id}]
    booted = [
        guest.boot(tenant, f"boot-{n}", networks=networks, admin=admin).id for n in range(_BOOTED)
    ]
    copies = [str(uuid.uuid4()) for _ in range(_BOOTS - _BOOTED)]
    _copy(lab, booted[0], copies)
    for at in range(0, len(copies), _BULK):
        ports = [
            {
                "network_id": private.id,
                "project_id": project,
                "device_id": each,
                "device_owner": "compute:nova",
            }
            for each in copies[at : at + _BULK]
        ]
        admin.network.create_ports(ports)
    return [*booted, *copies]


def _copy(lab: Lab, instance: str, copies: Sequence[str]) -> None:
    """Copy an instance in Nova's database, each with a name of its own."""
    engine = make_engine(lab.database("nova"), pool_size=1)
    try:
        with engine.begin() as connection:
            for table, names in _COPIED:
                columns = connection.execute(text(f"SHOW COLUMNS FROM {table}")).scalars()
                kept = [each for each in columns if each != "id"]
                own = {
                    "hostname": ":name",
                    "display_name": ":name",
                    "uuid": "UUID()",
                    names: ":copy",
                }
                connection.execute(
                    text(
                        f"INSERT INTO {table} ({', '.join(f'`{each}`' for each in kept)})"
                        f" SELECT {', '.join(own.get(each, f'`{each}`') for each in kept)}"
                        f" FROM {table} WHERE {names} = :instance"
                    ),
                    [
                        {"instance": instance, "copy": each, "name": f"boot-{n}"}
                        for n, each in enumerate(copies, start=_BOOTED)
                    ],
                )
    finally:
        engine.dispose()
