"""Every route, for every role, in one's own project and in another's (security.md S10)."""

import pytest
from sqlalchemy import event

from tatu.api.access import list_rules
from tatu.api.app import ROUTES
from tatu.ports import Assignment
from tests.api.deployment import ROLES, deployed

KEY = "SHA256:" + "A" * 43
A = "/v2/authorities/{authority}"
NOBODY, HOST, ANYONE, READER, MEMBER, MANAGER, ADMIN, SELF, NOVA = (
    "nobody",
    "host",
    "anyone",
    "reader",
    "member",
    "manager",
    "admin",
    "self",
    "nova",
)

WHO = {
    ("GET", "/"): NOBODY,
    ("GET", "/healthz"): NOBODY,
    ("GET", "/readyz"): NOBODY,
    ("GET", "/metrics"): NOBODY,
    ("GET", "/v2"): NOBODY,
    ("GET", "/v2/openapi.json"): NOBODY,
    ("GET", f"{A}/public-keys"): NOBODY,
    ("GET", f"{A}/statement"): NOBODY,
    ("GET", f"{A}/krl"): NOBODY,
    ("GET", f"{A}/krl/{{version}}"): NOBODY,
    ("GET", "/v2/agent"): NOBODY,
    ("GET", "/v2/agent/{digest}"): NOBODY,
    ("GET", "/v2/agent/{digest}/signature"): NOBODY,
    ("GET", "/v2/carried"): NOBODY,
    ("POST", "/v2/enrolments"): NOBODY,
    ("POST", "/v2/challenges"): NOBODY,
    ("POST", "/v2/tokens"): NOBODY,
    ("DELETE", "/v2/tokens/current"): ANYONE,
    ("GET", "/v2/whoami"): ANYONE,
    ("GET", "/v2/authorities"): READER,
    ("POST", "/v2/authorities"): MANAGER,
    ("GET", A): READER,
    ("PATCH", A): MANAGER,
    ("POST", f"{A}/keys"): MANAGER,
    ("PATCH", f"{A}/keys/{{fingerprint:path}}"): MANAGER,
    ("POST", f"{A}/user-certificates"): MEMBER,
    ("POST", f"{A}/user-certificates/batch"): MEMBER,
    ("GET", f"{A}/user-certificates/{{serial}}"): MEMBER,
    ("GET", f"{A}/host-certificates/{{serial}}"): READER,
    ("GET", f"{A}/certificates/{{serial}}/status"): READER,
    ("GET", "/v2/user-certificates"): MEMBER,
    ("GET", "/v2/host-certificates"): READER,
    ("POST", f"{A}/revocations"): MEMBER,
    ("GET", f"{A}/blocks"): MANAGER,
    ("DELETE", f"{A}/blocks/{{block}}"): ADMIN,
    ("GET", "/v2/hosts"): READER,
    ("GET", f"{A}/hosts/{{host}}"): READER,
    ("DELETE", f"{A}/hosts/{{host}}"): MANAGER,
    ("POST", f"{A}/hosts/{{host}}/certificates"): HOST,
    ("PUT", f"{A}/hosts/{{host}}/receipt"): HOST,
    ("GET", f"{A}/hosts/{{host}}/receipt"): READER,
    ("PUT", f"{A}/hosts/{{host}}/report"): HOST,
    ("GET", f"{A}/hosts/{{host}}/sessions"): MANAGER,
    ("POST", f"{A}/hosts/{{host}}/logins"): HOST,
    ("GET", f"{A}/receipts"): READER,
    ("GET", "/v2/logins"): MEMBER,
    ("POST", f"{A}/enrolment-tokens"): MANAGER,
    ("POST", "/v2/vendordata/nova"): NOVA,
    ("GET", "/v2/audit-events"): MANAGER,
    ("GET", "/v2/projects"): ADMIN,
    ("POST", "/v2/projects"): ADMIN,
    ("GET", "/v2/projects/{project}"): ADMIN,
    ("PATCH", "/v2/projects/{project}"): ADMIN,
    ("DELETE", "/v2/projects/{project}"): ADMIN,
    ("GET", "/v2/users"): ADMIN,
    ("POST", "/v2/users"): ADMIN,
    ("GET", "/v2/users/{user}"): ADMIN,
    ("PATCH", "/v2/users/{user}"): ADMIN,
    ("DELETE", "/v2/users/{user}"): ADMIN,
    ("GET", "/v2/users/{user}/keys"): SELF,
    ("POST", "/v2/users/{user}/keys"): SELF,
    ("DELETE", "/v2/users/{user}/keys/{fingerprint:path}"): SELF,
    ("GET", "/v2/groups"): ADMIN,
    ("POST", "/v2/groups"): ADMIN,
    ("GET", "/v2/groups/{group}"): ADMIN,
    ("DELETE", "/v2/groups/{group}"): ADMIN,
    ("GET", "/v2/groups/{group}/members"): ADMIN,
    ("PUT", "/v2/groups/{group}/members/{user}"): ADMIN,
    ("DELETE", "/v2/groups/{group}/members/{user}"): ADMIN,
    ("GET", "/v2/roles"): ANYONE,
    ("POST", "/v2/roles"): ADMIN,
    ("GET", "/v2/roles/{role}"): ANYONE,
    ("DELETE", "/v2/roles/{role}"): ADMIN,
    ("GET", "/v2/assignments"): ADMIN,
    ("POST", "/v2/assignments"): ADMIN,
    ("POST", "/v2/assignments/removals"): ADMIN,
}
WITH_TOKEN = sorted(route for route, who in WHO.items() if who not in (NOBODY, HOST))
SCOPED = [route for route in WITH_TOKEN if "{authority}" in route[1]]
RANK = {ANYONE: 0, READER: 1, MEMBER: 2, MANAGER: 3, ADMIN: 4, NOVA: 5}


def path(template: str, authority: str = "blue", user: str = "none") -> str:
    """Fill in a path with ids of what is not there, but for the authority."""
    return template.replace(":path}", "}").format(
        authority=authority,
        user=user,
        serial=999,
        block=999,
        host="none",
        fingerprint=KEY.replace("/", "%2F"),
        project="none",
        group="none",
        role="none",
        version=1,
        digest="0" * 64,
    )


def ask(deployment, route, caller, **ids):
    """Ask with an empty body: whoever may, is told that it is malformed, and nothing happens."""
    method, template = route
    json = {} if ROUTES[template][method].body else None
    answer = deployment.call(method, path(template, **ids), caller, fresh=True, json=json)
    if template == "/v2/tokens/current":
        deployment.forget_tokens()
    return answer


def is_let_in(answer) -> bool:
    return answer.status_code in (200, 201, 204, 400, 409) or (
        answer.status_code == 404 and "no authority" not in answer.json["detail"]
    )


def test_the_table_has_every_route():
    assert set(WHO) == {(m, p) for p, operations in ROUTES.items() for m in operations}


def test_only_routes_for_anyone_ask_for_no_token():
    public = {(m, p) for p, ops in ROUTES.items() for m, o in ops.items() if o.public}
    assert {route for route, who in WHO.items() if who == NOBODY} == public


def test_hosts_alone_sign_and_no_token_stands_for_that(deployment):
    signed = {(m, p) for p, ops in ROUTES.items() for m, o in ops.items() if o.by_host}
    assert {route for route, who in WHO.items() if who == HOST} == signed
    for route in signed:
        assert ask(deployment, route, "blue-admin").status_code == 401


@pytest.mark.parametrize("route", WITH_TOKEN, ids=" ".join)
def test_without_a_token_nothing_is_told(deployment, route):
    answer = ask(deployment, route, None)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", WITH_TOKEN, ids=" ".join)
def test_a_role_is_let_in_exactly_where_the_table_says(deployment, route, role):
    answer = ask(deployment, route, f"blue-{role}")
    needed = ADMIN if WHO[route] == SELF else WHO[route]
    if RANK[role] >= RANK[needed]:
        assert is_let_in(answer), answer.text
    else:
        assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", SCOPED, ids=" ".join)
def test_another_project_is_not_there_but_for_administrators(deployment, route, role):
    answer = ask(deployment, route, f"red-{role}", authority="blue")
    if role == ADMIN:
        assert is_let_in(answer), answer.text
    else:
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("route", SCOPED, ids=" ".join)
def test_foreign_and_absent_read_the_same_and_cost_the_same(deployment, route):
    seen = []
    for authority in ("blue", "none"):
        with queries(deployment) as counted:
            answer = ask(deployment, route, "red-manager", authority=authority)
        told = answer.json | {"request_id": ""}
        told["detail"] = told["detail"].replace(repr(authority), "")
        seen.append((answer.status_code, told, len(counted)))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("route", [r for r in WITH_TOKEN if WHO[r] == SELF], ids=" ".join)
def test_users_see_to_their_own_keys_and_to_nobody_elses(deployment, route):
    assert is_let_in(ask(deployment, route, "blue-reader", user="blue-reader"))
    assert ask(deployment, route, "blue-reader", user="blue-admin").status_code == 403


@pytest.mark.parametrize(
    "listed", ["authorities", "user-certificates", "host-certificates", "hosts", "audit-events"]
)
def test_lists_have_nothing_of_another_project(deployment, listed):
    deployment.issue("blue-member", "blue")
    deployment.issue("red-member", "red")
    deployment.admit("blue", "blue-host")
    deployment.admit("red", "red-host")
    text = deployment.call("GET", f"/v2/{listed}?limit=1000", "red-manager").text
    assert "blue" not in text
    everything = deployment.call("GET", f"/v2/{listed}?limit=1000", "red-admin").text
    assert listed == "host-certificates" or "blue" in everything


@pytest.mark.parametrize("listed", ["user-certificates", "host-certificates", "hosts"])
def test_a_list_of_another_projects_authority_is_not_there(deployment, listed):
    foreign = deployment.call("GET", f"/v2/{listed}?authority=blue", "red-manager")
    absent = deployment.call("GET", f"/v2/{listed}?authority=none", "red-manager")
    assert (foreign.status_code, absent.status_code) == (404, 404)


def test_a_role_that_only_differs_in_case_administers_nothing(deployment):
    deployment.add_role("Admin")
    deployment.add_user("blue-impostor", "blue", "Admin")
    assert deployment.call("GET", "/v2/users", "blue-impostor").status_code == 403


def test_every_rule_is_of_a_route_and_every_route_names_its_rule():
    documented = {
        (operation["method"], operation["path"], rule.name)
        for rule in list_rules()
        for operation in getattr(rule, "operations", [])
    }
    served = {
        (method, path.replace(":path}", "}"))
        for path, operations in ROUTES.items()
        for method in operations
    }
    assert {(method, path) for method, path, _ in documented} <= served
    for template, operations in ROUTES.items():
        for method, operation in operations.items():
            if operation.rule is not None:
                shown = template.replace(":path}", "}")
                assert (method, shown, operation.rule) in documented


class queries:  # noqa: N801 - reads as what it counts
    """Collect the statements that reach the database."""

    def __init__(self, deployment):
        self._engine = deployment.ledger._database.engine

    def __enter__(self):
        self._found = []
        event.listen(self._engine, "before_cursor_execute", self._count)
        return self._found

    def __exit__(self, *_):
        event.remove(self._engine, "before_cursor_execute", self._count)

    def _count(self, connection, cursor, statement, *_):
        self._found.append(statement)


def test_a_role_lost_in_another_process_changes_nothing_from_memory(template, tmp_path):
    with deployed(template, tmp_path) as deployment:
        path, body = "/v2/authorities/blue/enrolment-tokens", {"host": "db"}
        assert deployment.call("GET", "/v2/whoami", "blue-manager").status_code == 200  # cached
        held = Assignment(project="blue", role="r-manager", user="blue-manager")
        deployment.ledger.directory.unassign(held, deployment.event())
        assert deployment.call("POST", path, "blue-manager", json=body).status_code == 403


def test_only_what_compares_marks_is_done_from_memory():
    remembered = {
        (method, path)
        for path, operations in ROUTES.items()
        for method, operation in operations.items()
        if operation.remembered
    }
    certificates = "/v2/authorities/{authority}/user-certificates"
    assert remembered == {
        ("POST", certificates),
        ("POST", f"{certificates}/batch"),
        ("POST", "/v2/vendordata/nova"),
    }
