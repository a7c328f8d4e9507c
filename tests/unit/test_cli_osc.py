"""`openstack ssh …`: where Tatu is, who we are there, and what is asked for it."""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from keystoneauth1 import token_endpoint
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tatu.cli import osc
from tatu.client import refresh
from tatu.client.openstack import OpenStackConnection, Place
from tatu.client.ready import Ready
from tatu.core.errors import Conflict, Denied, Malformed, NotFound, Unauthenticated
from tests.fakes.http import FakeHttp

# osc_lib warns of a module of its own when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:The osc_lib.version module is deprecated")

ROOT = Path(__file__).parents[2]
USERS = {"u-1": "alice", "u-2": "bob", "u-3": "carol", "u-4": "carol", "u-5": "u-2"}
PROJECTS = {"p-1": "blue", "p-2": "green"}


class FakeCloud(FakeHttp):
    """Keystone under /identity and Tatu under /ssh, which remember what they were asked."""

    def __init__(self):
        self.asked = []
        self.deployment = "d-1"
        self.endpoints = [("public", "one", "{url}/ssh/"), ("internal", "one", "{url}/inside")]
        self.forbidden = False
        self.refused = False
        self.project = {"id": "p-1", "name": "blue"}
        super().__init__()

    def respond(self, method, path, headers, body):
        self.asked.append((method, path, headers.get("X-Auth-Token"), headers))
        status, told, answer = self.answer(method, urlsplit(path))
        return status, told, json.dumps(answer).encode()

    def paths(self):
        return [path for _, path, _, _ in self.asked]

    def answer(self, method, where):  # noqa: PLR0911 -- a table
        match where.path.strip("/").split("/"):
            case ["identity"]:
                link = [{"rel": "self", "href": f"{self.url}/identity/v3/"}]
                version = {"id": "v3.14", "status": "stable", "links": link}
                return 300, {}, {"versions": {"values": [version]}}
            case ["identity", "v3", "auth", "tokens"] if self.refused:
                return 401, {}, {"error": {"code": 401, "title": "Unauthorized", "message": "no"}}
            case ["identity", "v3", "auth", "tokens"]:
                return 201, {"X-Subject-Token": "the-token"}, {"token": self.token()}
            case ["identity", "v3", ("users" | "projects") as kind, *rest]:
                return self.directory(kind, rest, parse_qs(where.query))
            case ["ssh", "v2"]:
                facts = {
                    "version": {"id": "v2", "status": "CURRENT", "links": []},
                    "identity": "keystone",
                    "url": f"{self.url}/ssh",
                }
                return 200, {}, {**facts, "deployment": self.deployment}
            case ["ssh", "v2", "authorities"]:
                return 200, {}, {"items": [], "links": {}}
        return 404, {}, {}

    def token(self):
        domain = {"id": "default", "name": "Default"}
        endpoints = [
            {"id": f"e{number}", "interface": interface, "region": region, "region_id": region,
             "url": url.format(url=self.url)}
            for number, (interface, region, url) in enumerate(self.endpoints)
        ]  # fmt: skip
        catalog = [{"id": "s", "type": "ssh", "name": "tatu", "endpoints": endpoints}]
        return {
            "user": {"id": "u-1", "name": "alice", "domain": domain},
            "methods": ["password"],
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "catalog": catalog,
            **({"project": {**self.project, "domain": domain}} if self.project else {}),
        }

    def directory(self, kind, rest, query):
        entries = {"users": USERS, "projects": PROJECTS}[kind]
        if self.forbidden:
            return 403, {}, {"error": {"code": 403, "title": "Forbidden", "message": "not you"}}
        if rest:
            found = entries.get(rest[0])
            return (200, {}, {}) if found else (404, {}, {})
        (name,) = query["name"]
        listed = [{"id": key, "name": found} for key, found in entries.items() if found == name]
        return 200, {}, {kind: listed}


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    running = FakeCloud()
    yield running
    running.stop()


def connected(cloud, user="alice", os_cloud=None, **place):
    auth = v3.Password(
        f"{cloud.url}/identity/v3", username=user, password="secret",
        user_domain_id="default", project_name="blue", project_domain_id="default",
    )  # fmt: skip
    return OpenStackConnection(Session(auth=auth), Place(**place), os_cloud)


def test_openstack_has_the_commands_that_tatu_says_it_has():
    from tatu.cli import app  # noqa: PLC0415 -- imports osc_lib, see above

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    expected = {
        f"ssh_{name.replace(' ', '_')}": f"tatu.cli.{place}" for name, place in app.SHARED.items()
    }
    assert groups[f"openstack.ssh.v{osc.DEFAULT_API_VERSION}"] == expected
    assert groups["openstack.cli.extension"] == {osc.API_NAME: "tatu.cli.osc"}
    assert not {"login", "logout"} & app.SHARED.keys()
    assert not any(name.startswith(("user ", "project")) for name in app.SHARED)


def test_help_and_completion_load_no_library_of_the_client():
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from importlib import import_module
import osc_lib.command.command
before = set(sys.modules)
import_module("tatu.cli.osc")
from tatu.cli import app
for place in app.SHARED.values():
    import_module(f"tatu.cli.{place.partition(':')[0]}")
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
heavy = {"requests", "keystoneauth1", "cryptography", "msgspec", "yaml", "openstack"}
sys.exit(f"{loaded & heavy}" if loaded & heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_our_options_are_those_that_openstack_reads(monkeypatch):
    monkeypatch.setenv("OS_SSH_ENDPOINT_OVERRIDE", "https://tatu.example")
    parser = osc.build_option_parser(argparse.ArgumentParser())
    found = parser.parse_args([])
    assert getattr(found, osc.API_VERSION_OPTION) is None
    assert found.os_ssh_endpoint_override == "https://tatu.example"


def test_a_client_is_made_without_a_question():
    instance = SimpleNamespace(
        session=Session(), region_name="one", interface="internal",
        get_configuration=lambda: {"cloud": "mine", "ssh_endpoint_override": "https://t"},
    )  # fmt: skip
    made = osc.make_client(instance)
    assert made._place == Place(region="one", interface="internal", override="https://t")
    assert made._os_cloud == "mine"


def test_tatu_is_found_by_the_catalog_and_gets_keystones_token(cloud):
    connected(cloud).api.authorities()
    signing_in, (method, path, token, headers) = cloud.asked
    assert signing_in[:2] == ("POST", "/identity/v3/auth/tokens")
    assert (method, path, token) == ("GET", "/ssh/v2/authorities", "the-token")
    assert "Authorization" not in headers


@pytest.mark.parametrize("url", ["{url}/ssh", "{url}/ssh/v2", "{url}/ssh/v2/"])
def test_the_catalog_may_name_the_root_or_the_version(cloud, url):
    cloud.endpoints = [("public", "one", url)]
    connected(cloud).api.authorities()
    assert cloud.paths()[-1] == "/ssh/v2/authorities"


def test_region_and_interface_choose_the_endpoint(cloud):
    cloud.endpoints.append(("internal", "two", "{url}/ssh"))
    connected(cloud, region="two", interface="internal").api.authorities()
    with pytest.raises(NotFound, match=r"no service of type 'ssh' \(public three\)"):
        connected(cloud, region="three", interface="public").api.authorities()


def test_a_url_of_ones_own_counts_instead_of_the_catalog(cloud):
    cloud.endpoints = []
    connected(cloud, override=f"{cloud.url}/ssh/").api.authorities()
    assert cloud.paths()[-1] == "/ssh/v2/authorities"


def test_a_cloud_without_tatu_is_said(cloud):
    cloud.endpoints = []
    with pytest.raises(NotFound, match="catalog has no service of type 'ssh'"):
        connected(cloud).api.authorities()


def test_a_token_that_came_by_https_does_not_go_on_by_http(cloud):
    def over(auth_url, **place):
        auth = v3.Password(auth_url, username="a", password="b", user_domain_id="c")
        session = Session(auth=auth)
        auth.auth_ref = connected(cloud)._access()
        return OpenStackConnection(session, Place(**place))

    cloud.endpoints = [("public", "one", "http://tatu.example/v2")]
    with pytest.raises(Malformed, match="not https: give --os-ssh-endpoint-override"):
        _ = over("https://keystone.example/v3").api
    chosen = over("https://keystone.example/v3", override="http://tatu.example").api
    assert chosen.adapter.endpoint_override == "http://tatu.example"


def test_who_we_are_is_what_keystone_says(cloud):
    session = connected(cloud).session()
    assert (session.subject, session.name, session.project) == ("u-1", "alice", "p-1")
    assert session.expires_at.year == 2099
    assert "the-token" not in repr(session)


def test_what_keystone_refuses_is_no_sign_in(cloud):
    cloud.refused = True
    with pytest.raises(
        Unauthenticated, match=r"Keystone gives no token: Unauthorized \(HTTP 401\)$"
    ):
        connected(cloud).session()


def test_credentials_that_name_nobody_do_for_lists_alone(cloud):
    auth = token_endpoint.Token(f"{cloud.url}/ssh", "a-token")
    connection = OpenStackConnection(Session(auth=auth), Place())
    assert connection.api.authorities() == []
    assert cloud.asked[-1][2] == "a-token"
    with pytest.raises(Unauthenticated, match="do not say who you are"):
        connection.session()
    assert connection.find("projects", "p-1") is None


def test_a_person_in_a_project_of_a_cloud_has_files_of_their_own(cloud):
    first, folder = connected(cloud), connected(cloud).state.folder
    assert first.state.folder == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    others = [connected(cloud, region="two").state.folder]
    cloud.project = {"id": "p-2", "name": "green"}
    others.append(connected(cloud).state.folder)
    assert len({folder, *others}) == 3
    assert first.cloud.name == folder.name


def test_the_deployment_is_the_one_that_was_there_before(cloud):
    assert connected(cloud).cloud.deployment == "d-1"
    cloud.deployment = "d-2"
    with pytest.raises(Denied, match=r"deployment is 'd-2' and no longer 'd-1'.*remove"):
        _ = connected(cloud).cloud


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [
        ("users", "bob", "u-2"),
        ("users", "u-3", "u-3"),
        # somebody calls themselves by the id of somebody else
        ("users", "u-2", "u-2"),
        ("users", "nobody", None),
        ("projects", "green", "p-2"),
        ("projects", "p-2", "p-2"),
        ("projects", "p-1", "p-1"),
    ],
)
def test_names_are_found_by_keystone_after_ids(cloud, kind, named, expected):
    assert connected(cloud).find(kind, named) == expected


def test_a_name_that_several_have_is_no_name(cloud):
    with pytest.raises(Conflict, match="several users are called 'carol': give the id"):
        connected(cloud).find("users", "carol")


@pytest.mark.parametrize(
    ("kind", "named", "expected"),
    [("users", "alice", "u-1"), ("users", "bob", None), ("projects", "blue", "p-1"),
     ("projects", "p-2", None)],
)  # fmt: skip
def test_who_may_not_ask_keystone_still_knows_themselves(cloud, kind, named, expected):
    cloud.forbidden = True
    assert connected(cloud).find(kind, named) == expected


def test_an_id_may_be_any_text(cloud):
    connected(cloud).find("users", "a/b?c=d @é")
    assert any("/users/a%2Fb%3Fc%3Dd%20%40%C3%A9" in path for path in cloud.paths())


def test_a_token_for_no_project_needs_one_to_be_named(cloud):
    from tatu.cli.ca import CaShow  # noqa: PLC0415 -- imports osc_lib, see above

    cloud.project = None
    app = SimpleNamespace(client_manager=SimpleNamespace(ssh=connected(cloud)))
    command = CaShow(app, None)
    with pytest.raises(Malformed, match="no project: name one by --project"):
        command.project_id(None)
    assert command.project_id("green") == "p-2"
    assert not command.is_own("p-2")
    with pytest.raises(Malformed, match="no project: sign in to one"):
        _ = command.connection.state


def test_a_valid_certificate_needs_no_tatu(cloud):
    connection = connected(cloud)
    now = int(time.time())
    kept = Ready(
        valid_after=now, valid_before=now + 86400, principals=["member"],
        hosts={}, waiting=[], asked_at=now, forwards=False,
    )  # fmt: skip
    kept.save(str(connection.state.ready))
    assert refresh.refresh(connection) == kept
    assert not any(path.startswith("/ssh") for path in cloud.paths())


def test_plain_ssh_refreshes_by_tatu_or_else_by_openstack(cloud):
    command = connected(cloud, os_cloud="my cloud").refresher
    quick, _, slow = command.partition(" 2>/dev/null || ")
    assert quick.endswith(f"ssh-config refresh --cloud {connected(cloud).state.folder.name}")
    assert slow.endswith("openstack '--os-cloud=my cloud' ssh ssh-config refresh")
    assert connected(cloud).refresher.endswith("openstack ssh ssh-config refresh")
    with pytest.raises(Malformed, match="cannot stand in ssh's configuration"):
        _ = connected(cloud, os_cloud='a"b').refresher


@pytest.mark.parametrize(
    ("program", "name", "said"),
    [
        ("openstack", "ssh usercert create", "`openstack ssh ca create`"),
        ("tatu", "usercert create", "`tatu ca create`"),
    ],
)
def test_who_has_no_authority_is_told_who_makes_it(monkeypatch, program, name, said):
    from tatu.cli.usercert import UsercertCreate  # noqa: PLC0415 -- osc_lib warns, see above

    def renew(*_):
        raise NotFound("there is no authority 'p-1'")

    monkeypatch.setattr(refresh, "renew", renew)
    app = SimpleNamespace(
        NAME=program,
        command_manager=SimpleNamespace(namespace="none"),
        client_manager=SimpleNamespace(ssh=SimpleNamespace(api=None)),
    )
    command = UsercertCreate(app, None, cmd_name=name)
    asked = command.get_parser(name).parse_args([])
    with pytest.raises(NotFound, match=f"no authority 'p-1'; a manager makes it: {said}"):
        command.take_action(asked)
