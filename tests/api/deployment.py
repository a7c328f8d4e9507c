"""A deployment in a folder: the real parts on SQLite, two projects, somebody of each role in both."""

import os
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import falcon.testing
import pytest

from tatu import bootstrap, config
from tatu.api.app import create_app
from tatu.core import bearer
from tatu.core.audit import SYSTEM, Event
from tatu.core.identity import Role
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace
from tatu.drivers.keystore import kek
from tatu.ports import Assignment, BearerToken, Project, Request, User, UserKey
from tatu.store.migrations import migrate
from tests.api.keys import ClientKey

ROLES = ("admin", "manager", "member", "reader")
PROJECTS = ("blue", "red")
URL = "https://tatu.example"


@dataclass
class FakeClock:
    """A clock that stands until it is moved."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def move(self, **span: float) -> None:
        self.now += timedelta(**span)


class Deployment:
    """The API of one deployment, and what tests ask of it."""

    def __init__(self, parts, app, clock, keys: dict[str, ClientKey]) -> None:
        self.parts = parts
        self.ledger = parts.ledger
        self.app = app
        self.clock = clock
        self.client = falcon.testing.TestClient(app)
        self.keys = keys
        self._tokens: dict[tuple[str, bool], str] = {}

    def populate(self) -> None:
        """Make two projects with an authority each, and somebody of each role in both."""
        for role in ROLES:
            self.add_role(role)
        for project in PROJECTS:
            found = Project(id=project, name=f"{project}-name")
            self.ledger.directory.create_project(found, self.event())
            for role in ROLES:
                self.add_user(f"{project}-{role}", project, role)
            self.parts.authorities.create(
                self.parts.identities.authenticate(self.request(f"{project}-admin")),
                project,
                f"{project}-name",
                request_id="",
            )

    def event(self) -> Event:
        return Event(
            action="test", actor=SYSTEM, authority=None, subject="", at=self.clock(), facts={}
        )

    def add_role(self, name: str) -> None:
        self.ledger.directory.create_role(Role(id=f"r-{name}", name=name), self.event())

    def add_user(self, user: str, project: str, role: str) -> None:
        directory = self.ledger.directory
        self.keys[user] = ClientKey()
        directory.create_user(User(id=user, name=f"{user}-name"), self.event())
        key = UserKey(user=user, public_key=self.keys[user].public, created_at=self.clock())
        directory.add_key(key, self.event())
        directory.assign(Assignment(project=project, role=f"r-{role}", user=user), self.event())

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def token(self, user: str, *, fresh: bool = False, hours: int = 1) -> str:
        """Return a token of a user, made past the sign-in; their project is in their name."""
        if (user, fresh) not in self._tokens:
            text = bearer.text(secrets.token_bytes(bearer.SECRET))
            token = BearerToken(
                digest=bearer.digest(text),
                user=user,
                project=user.partition("-")[0],
                key=self.keys[user].public.fingerprint,
                fresh=fresh,
                created_at=self.clock(),
                expires_at=self.clock() + timedelta(hours=hours),
            )
            self.ledger.sign_ins.put_token(token, self.event())
            self._tokens[user, fresh] = text
        return self._tokens[user, fresh]

    def request(self, user: str):
        """Return what an identity driver sees of a request of a user."""
        headers = {"authorization": f"Bearer {self.token(user)}"}
        return Request(method="GET", path="/", body_digest="", headers=headers)

    def call(self, method: str, path: str, user: str | None = None, *, fresh=False, **more):
        """Ask, as a user or as nobody."""
        headers = dict(more.pop("headers", {}))
        if user is not None:
            headers["Authorization"] = f"Bearer {self.token(user, fresh=fresh)}"
        return self.client.simulate_request(method, path, headers=headers, **more)

    def wanted(self, key: ClientKey, user: str, project: str = "blue", **more) -> dict:
        """Return the body that asks for a certificate, with its proof."""
        wanted = Wanted(
            subject_key=key.public,
            principals=frozenset(more["principals"]) if "principals" in more else None,
            validity=timedelta(seconds=more["validity"]) if "validity" in more else None,
        )
        message = wanted.proof_message(
            deployment=self.parts.deployment, authority=project, subject=user
        )
        return {
            "public_key": key.line,
            "proof": key.sign(Namespace.SUBJECT, message),
            **more,
        }

    def admit(self, project: str, host: str, **more) -> dict:
        """Admit a host; return the answer with its token."""
        answer = self.call(
            "POST",
            f"/v2/authorities/{project}/enrolment-tokens",
            f"{project}-manager",
            json={"host": host, **more},
        )
        assert answer.status_code == 201, answer.text
        return answer.json

    def issue(self, user: str = "blue-member", project: str = "blue", **more) -> dict:
        """Issue a certificate for a new key of a user."""
        body = self.wanted(ClientKey(), user, project, **more)
        path = f"/v2/authorities/{project}/user-certificates"
        answer = self.call("POST", path, user, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json


@dataclass(frozen=True)
class Template:
    """A populated deployment, to be copied: that is ten times as quick as making one."""

    folder: Path
    now: datetime
    keys: Mapping[str, ClientKey]


def template(folder: Path) -> Template:
    """Make a deployment in a folder and populate it."""
    key = folder / "kek"
    key.touch(mode=0o600)
    key.write_text(kek.new_line(os.urandom))
    migrate(f"sqlite:///{folder}/tatu.db")
    made = Template(folder, datetime.now(UTC).replace(microsecond=0), {})
    with _opened(made) as deployment:
        deployment.populate()
        return replace(made, keys=deployment.keys)


@contextmanager
def deployed(
    made: Template, folder: Path, *, settings: str = "", **rates: int
) -> Iterator[Deployment]:
    """Start a deployment in a folder, as `tatu-api` would, but that its clock is ours.

    `settings` are more lines of its configuration.
    """
    shutil.copytree(made.folder, folder, dirs_exist_ok=True)
    with _opened(replace(made, folder=folder), settings, **rates) as deployment:
        yield deployment


@contextmanager
def answering(app) -> Iterator[str]:
    """Have an application answer on this machine; yield its address."""
    server = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def _opened(made: Template, settings: str = "", **rates: int) -> Iterator[Deployment]:
    folder = made.folder
    file = folder / "tatu.conf"
    file.write_text(
        f"[DEFAULT]\napi_endpoint = {URL}\n"
        f"[database]\nconnection = sqlite:///{folder}/tatu.db\n"
        f"[state]\ndirectory = {folder}/state\n"
        f"[keystore_local]\nkek_file = {folder}/kek\n"
        "[rates]\n" + "".join(f"{name} = {count}\n" for name, count in rates.items()) + settings
    )
    clock = FakeClock(made.now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "now", clock)
        loaded = config.load(["--config-file", str(file)])
        ledger = bootstrap.open_ledger(loaded)
        try:
            parts = bootstrap.parts(bootstrap.build(loaded, ledger))
            yield Deployment(parts, create_app(parts), clock, dict(made.keys))
        finally:
            ledger.close()
