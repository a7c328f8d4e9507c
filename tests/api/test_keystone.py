"""The API in front of a Keystone: where to sign in, and what each scope may do (S9, S21)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tatu.api.app import create_app
from tatu.core.errors import NotFound, Unauthenticated, Unavailable
from tatu.core.identity import MAX_ID, Identity, Role
from tatu.ports import IdentityProvider, Project
from tests.api.deployment import Deployment, deployed
from tests.api.keys import ClientKey

KEYSTONE = "https://keystone.example/v3"
LDAP = "9f" * 32
ODD = "CN=Ann O'Neil,DC=corp@é"


class Cloud(IdentityProvider):
    """Takes the tokens of a dictionary, and knows two projects besides blue and red."""

    sign_in_url = KEYSTONE
    lag = timedelta(seconds=1)

    def __init__(self, clock):
        self.clock = clock
        self.callers = {}
        self.out = False

    def add(self, token, subject, role="", project=None, **more):
        roles = frozenset({Role(id=f"r-{role}", name=role)} if role else ())
        now = self.clock()
        self.callers[token] = Identity(
            issuer=KEYSTONE,
            subject=subject,
            name="ann",
            project=project,
            roles=roles,
            mark=10_000,
            validated_at=now,
            expires_at=now + timedelta(hours=1),
            **more,
        )

    def authenticate(self, request, *, cached=True, strange=None):
        if self.out:
            raise Unavailable("Keystone does not answer")
        try:
            return self.callers[request.headers.get("x-auth-token")]
        except KeyError:
            raise Unauthenticated("no token of Keystone") from None

    def project(self, project_id):
        if project_id not in ("green", "grey"):
            raise NotFound("Keystone has none")
        return Project(id=project_id, name="Green Ltd", enabled=project_id == "green")

    def effective_roles(self, subject, project):
        return frozenset()

    def roles(self, *, since=None):
        return frozenset({Role(id="r-admin", name="admin")})

    def user(self, subject):
        raise NotFound("Keystone has none")

    def lent(self, subject, origin):
        raise NotFound("Keystone has none")

    def projects(self, *, since=None):
        return iter(())

    def holders(self, project, *, since=None):
        return {}

    def out_of_sight(self):
        return ()

    def check(self):
        pass


@pytest.fixture
def cloud(template, tmp_path):
    """A deployment whose callers are a Keystone's; `ask` is how they ask."""
    with deployed(template, tmp_path) as made:
        cloud = Cloud(made.clock)
        parts = replace(made.parts, identities=cloud, administration=None, sign_in=None)
        cloud.deployment = Deployment(parts, create_app(parts), made.clock, dict(made.keys))

        def ask(method, path, token=None, **more):
            headers = {} if token is None else {"X-Auth-Token": token}
            return cloud.deployment.call(method, path, headers=headers, **more)

        cloud.ask = ask
        yield cloud


def certificate(cloud, token, subject, project="blue"):
    body = cloud.deployment.wanted(ClientKey(), subject, project)
    return cloud.ask("POST", f"/v2/authorities/{project}/user-certificates", token, json=body)


def test_clients_are_told_which_keystone_gives_tokens(cloud, deployment):
    assert cloud.ask("GET", "/v2").json["auth_url"] == KEYSTONE
    assert "auth_url" not in deployment.call("GET", "/v2").json
    answer = cloud.ask("GET", "/v2/hosts")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{KEYSTONE}"'


def test_both_headers_are_described(deployment):
    described = deployment.call("GET", "/v2/openapi.json").json
    schemes = described["components"]["securitySchemes"]
    assert schemes["keystone"]["name"] == "X-Auth-Token"
    assert schemes["bearer"]["scheme"] == "bearer"
    security = described["paths"]["/v2/hosts"]["get"]["security"]
    assert [set(one) for one in security] == [{"bearer"}, {"keystone"}]


def test_while_keystone_is_away_nobody_is_anybody(cloud):
    cloud.add("t", "ann", "admin", "blue")
    cloud.out = True
    for token in ("t", None, "unknown"):
        answer = cloud.ask("GET", "/v2/hosts", token)
        assert answer.status_code == 503
        assert "WWW-Authenticate" not in answer.headers


def test_a_system_scoped_administrator_administers_and_gets_no_certificate(cloud):
    cloud.add("system", "root", "admin")
    found = cloud.ask("GET", "/v2/authorities", "system").json["items"]
    assert {"blue", "red"} == {authority["id"] for authority in found}
    assert cloud.ask("GET", "/v2/audit-events?after=0", "system").status_code == 200
    refused = certificate(cloud, "system", "root")
    assert refused.status_code == 403
    assert "not scoped" in refused.json["detail"]


def test_a_token_without_roles_here_sees_and_does_nothing(cloud):
    cloud.add("domain", "ann")
    assert cloud.ask("GET", "/v2/whoami", "domain").json["project"] is None
    assert cloud.ask("GET", "/v2/authorities", "domain").status_code == 403
    assert cloud.ask("GET", "/v2/authorities/blue", "domain").status_code == 404
    assert certificate(cloud, "domain", "ann").status_code == 404
    assert cloud.ask("POST", "/v2/authorities", "domain", json={}).status_code == 403


@pytest.mark.parametrize("role", ["Admin", "ADMIN", "administrator", "tatu-vendordata", "service"])
def test_no_other_role_makes_an_administrator(cloud, role):
    cloud.add("t", "ann", role, "blue")
    assert cloud.ask("GET", "/v2/audit-events?after=0", "t").status_code == 403
    assert cloud.ask("GET", "/v2/authorities/red", "t").status_code == 404


def test_an_authority_is_named_as_keystone_names_its_project(cloud):
    cloud.add("t", "ann", "manager", "green")
    made = cloud.ask("POST", "/v2/authorities", "t", json={})
    assert (made.status_code, made.json["id"], made.json["name"]) == (201, "green", "Green Ltd")
    cloud.add("grey", "ann", "manager", "grey")
    assert cloud.ask("POST", "/v2/authorities", "grey", json={}).status_code == 409
    cloud.add("gone", "ann", "manager", "gone")
    assert cloud.ask("POST", "/v2/authorities", "gone", json={}).status_code == 404


@pytest.mark.parametrize("subject", [LDAP, ODD, "x" * 191, "a b/c?d&e#f%2e"])
def test_a_users_id_is_whatever_keystone_writes_and_never_another(cloud, subject):
    cloud.add("own", subject, "member", "blue")
    cloud.add("manager", "boss", "manager", "blue")
    issued = certificate(cloud, "own", subject)
    assert issued.status_code == 201, issued.text
    assert issued.json["subject"] == subject

    def live():
        params = {"subject": subject, "live": "true"}
        return cloud.ask("GET", "/v2/user-certificates", "manager", params=params).json["items"]

    assert [issued.json["serial"]] == [found["serial"] for found in live()]
    found = cloud.ask("GET", "/v2/user-certificates", "manager", params={"subject": subject[:-1]})
    assert found.json["items"] == []
    body = {"reason": "test", "user": subject}
    done = cloud.ask("POST", "/v2/authorities/blue/revocations", "manager", json=body)
    assert done.json["revoked"] == [issued.json["serial"]]
    assert certificate(cloud, "own", subject).status_code == 403  # blocked


def test_an_id_with_control_characters_is_refused(cloud):
    cloud.add("manager", "boss", "manager", "blue")
    for user in ("a\nb", "a\0", "", "x" * (MAX_ID + 1)):
        body = {"reason": "test", "user": user}
        done = cloud.ask("POST", "/v2/authorities/blue/revocations", "manager", json=body)
        assert done.status_code == 400


def test_a_certificate_ends_with_what_its_token_was_got_by(cloud):
    end = cloud.clock() + timedelta(minutes=7)
    cloud.add("lent", "ann", "member", "blue", origin="trust:1", ends_by=end)
    issued = certificate(cloud, "lent", "ann")
    assert issued.json["valid_before"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")
    cloud.deployment.clock.move(minutes=7)
    assert certificate(cloud, "lent", "ann").status_code == 403


def test_what_is_kept_in_the_embedded_directory_is_not_there(cloud):
    cloud.add("t", "ann", "admin", "blue")
    for path in (
        "/v2/users",
        "/v2/users/blue-admin",
        "/v2/users/blue-admin/keys",
        "/v2/projects",
        "/v2/projects/blue",
        "/v2/groups",
        "/v2/groups/g",
        "/v2/groups/g/members",
        "/v2/assignments",
    ):
        answer = cloud.ask("GET", path, "t")
        assert (answer.status_code, answer.json["detail"]) == (
            404,
            "identities are administered elsewhere",
        )


def test_roles_are_keystones_with_the_accounts_that_they_open(cloud):
    cloud.add("t", "ann", "reader", "blue")
    found = cloud.ask("GET", "/v2/roles", "t").json["items"]
    assert found == [{"id": "r-admin", "name": "admin", "account": "admin"}]
    for named in ("r-admin", "admin"):
        assert cloud.ask("GET", f"/v2/roles/{named}", "t").json == found[0]
    assert cloud.ask("GET", "/v2/roles/member", "t").status_code == 404
    cloud.add("admin", "ann", "admin", "blue")
    made = cloud.ask("POST", "/v2/roles", "admin", json={"name": "dba"})
    assert made.status_code == 404
