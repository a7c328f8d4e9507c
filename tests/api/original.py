"""A deployment with the doors of the original's wire open, for ids as clouds give them."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import falcon.testing

from tatu.api.app import create_app
from tatu.ports import Project
from tests.api.deployment import ROLES, Deployment, Template, deployed
from tests.api.keys import ClientKey
from tests.fakes.inventory import FakeInventory

OPEN = "[original_wire]\nenabled = true\nnoauth = true\n"
DEMO = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
NOVA = "service-nova"
INSTANCE = "e0fee242-2305-4bbf-a449-ecbc4f9fae26"
HEX = INSTANCE.replace("-", "")


def who(role: str, project: str = DEMO) -> str:
    return f"{project}-{role}"


class Original:
    """The wire of one deployment: the project demo has an authority, and somebody of each role."""

    def __init__(self, deployment: Deployment) -> None:
        self.inventory = FakeInventory()
        parts = deployment.parts
        deployment.parts = replace(
            parts, instances=replace(parts.instances, inventory=self.inventory)
        )
        deployment.app = create_app(deployment.parts)
        deployment.client = falcon.testing.TestClient(deployment.app)
        self.deployment = deployment
        self.ledger = deployment.ledger
        self.call = deployment.call

    def populate(self) -> None:
        directory, event = self.ledger.directory, self.deployment.event
        for project, name in ((DEMO, "demo"), (OTHER, "other"), ("service", "service")):
            directory.create_project(Project(id=project, name=name), event())
        for project in (DEMO, OTHER):
            for role in ROLES:
                self.deployment.add_user(who(role, project), project, role)
            made = self.call(
                "POST", "/v1/authorities", who("manager", project), json={"auth_id": project}
            )
            assert made.status_code == 201, made.text
        self.deployment.add_role("tatu-vendordata")
        self.deployment.add_user(NOVA, "service", "tatu-vendordata")

    def certificate(self, role: str = "member", project: str = DEMO, key=None, **other):
        """Ask for a user certificate as the command line does; the key has a comment."""
        key = key or ClientKey()
        body = {
            "user_id": who(role, project),
            "auth_id": project,
            "pub_key": f"{key.line} {role}@desk",
        }
        return self.call("POST", "/v1/usercerts", who(role, project), json=body | other)

    def boot(self, name: str = "vm", *, instance: str = INSTANCE, project: str = DEMO, **more):
        """Boot a machine; return what Nova is told for it."""
        self.inventory.put(
            instance, built_at=self.deployment.clock(), project=project, name=name, **more
        )
        return self.vendordata(instance, project)

    def vendordata(self, instance: str = INSTANCE, project: str = DEMO, user: str = NOVA):
        """Ask as Nova does."""
        body = {
            "project-id": project,
            "instance-id": instance,
            "image-id": str(uuid.uuid4()),
            "user-data": None,
            "hostname": "vm",
            "metadata": {},
            "boot-roles": "admin,member",
        }
        return self.call("POST", "/v1/novavendordata", user, json=body)

    def host_certificate(self, token: str, key=None, host: str = INSTANCE, **more):
        """Ask as a machine does; curl says that the body is a form."""
        body = {
            "token_id": token,
            "host_id": host,
            "pub_key": f"{(key or ClientKey()).line} root@vm",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.call("POST", "/noauth/hostcerts", json=body, headers=headers, **more)


def original_template(template: Template, folder: Path) -> Template:
    """Populate a deployment once, to be copied for each test."""
    with original(template, folder) as made:
        made.populate()
        return replace(template, folder=folder, keys=made.deployment.keys)


@contextmanager
def original(made: Template, folder: Path, **rates: int) -> Iterator[Original]:
    """Open the doors of a copy."""
    with deployed(made, folder, settings=OPEN, **rates) as deployment:
        yield Original(deployment)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(app) -> Iterator[str]:
    """Serve an application over real HTTP on loopback; give its URL."""
    server = make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
