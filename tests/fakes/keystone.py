"""A Keystone without a network: it answers from the ledger's directory what the real one answers.

Only what the driver asks is there, in the shapes that a real Keystone sent.  A test may put any other
answer in the place of one (`answers`), and read what was asked (`asked`).
"""

import json
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from requests.adapters import BaseAdapter

from tatu.core.errors import NotFound
from tatu.drivers.identity.keystone import Keystone
from tatu.drivers.identity.keystone_listings import Listings, Roles
from tatu.drivers.identity.keystone_reader import Reader
from tatu.drivers.identity.keystone_tokens import Policy, Validation
from tatu.service.paging import every

URL = "http://keystone.example/v3"
_LATER = datetime(2100, 1, 1, tzinfo=UTC)
_DOMAIN = "default"


class FakeKeystone(BaseAdapter):
    """Users and projects are of one domain, which `domain_enabled` says to be in use."""

    def __init__(self, directory):
        super().__init__()
        self.asked = []
        self.timeouts = {}  # seconds that somebody waits, by path
        self.answers = {}
        self.out = False
        self.hangs = None
        self.breaks_off = set()  # tokens of callers over which it closes the connection
        self.reached = threading.Event()
        self.own_scope = {"system": {"all": True}}
        self.own_grants = []  # what was assigned to Tatu's own user
        self.domain_enabled = True
        self.trustee = "id-bob"
        self.parents = {}  # of projects; the domain is that of the others
        self.inferences = {}  # by role, what it implies
        self.handed_down = []  # what was assigned besides, to be inherited
        self.federated = []  # ids of users whom Keystone knows by another source
        self.page = 1000
        self.links = True  # a list that is cut off says where it goes on
        self.goes_on = True
        self._directory = directory
        self._tokens = {}
        self._ends = {}

    def provider(self, clock, cut_offs, *, allow_trust_tokens=False, sign_in_methods=()):
        """Return the driver that asks this Keystone."""
        http = requests.Session()
        http.mount("http://", self)
        reader = Reader(
            session=Session(session=http, timeout=5),
            auth=v3.Password(auth_url=URL, user_id="tatu", password="hidden", system_scope="all"),
        )
        policy = Policy(
            allow_trust_tokens=allow_trust_tokens, sign_in_methods=frozenset(sign_in_methods)
        )
        return Keystone(
            url=URL,
            reader=reader,
            validation=Validation(reader, policy),
            listings=Listings(reader, Roles(reader, clock), clock),
            federated_validity=timedelta(hours=1),
            cut_offs=cut_offs,
            clock=clock,
        )

    def token(self, user, project=None, /, **more):
        """Sign a user in; `more` is what else Keystone says of the token. Return the token."""
        text = f"gAAAA-{len(self._tokens)}"
        self._tokens[text] = user, project, more
        return text

    def end(self, token):
        del self._tokens[token]

    def lend(self, kind, ident, ends):
        """Keep an application credential or a trust, and when it ends."""
        self._ends[kind, ident] = ends

    def send(self, request, *, timeout=None, **_):
        if self.out:
            raise requests.ConnectionError("refused")
        parts = urlsplit(request.url)
        path, query = parts.path.removeprefix("/v3"), dict(parse_qsl(parts.query))
        self.asked.append(f"{request.method} {path}")
        self.timeouts[path] = timeout
        if self.hangs is not None:
            self.reached.set()
            self.hangs.wait(30)
        if request.headers.get("X-Subject-Token") in self.breaks_off:
            raise requests.ConnectionError("reset by peer")
        status, body = self.answers.get(path) or self._answer(request, path, query)
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = status, request, request.url
        if status == 302:
            answer.headers["Location"] = "http://elsewhere.example/v3"
        if request.method == "POST":
            answer.headers["X-Subject-Token"] = "own-token"
        answer._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return answer

    def close(self):
        pass

    def _answer(self, request, path, query):
        answer = 404, b"<title>404 Not Found</title>"
        match path.strip("/").split("/"):
            case [""]:
                links = [{"rel": "self", "href": f"{URL}/"}]
                answer = 200, {"version": {"id": "v3.14", "status": "stable", "links": links}}
            case ["auth", "tokens"] if request.method == "POST":
                answer = 201, {"token": self._own()}
            case ["auth", "tokens"]:
                answer = self._vouched(request.headers["X-Subject-Token"])
            case ["users", user]:
                answer = self._one("user", unquote(user), self._directory.user)
            case ["projects", project]:
                answer = self._one("project", unquote(project), self._directory.project)
            case ["domains", _]:
                answer = 200, {"domain": self._domain()}
            case ["domains"]:
                answer = 200, self._cut("domains", [self._domain()], query)
            case ["users" | "projects" as many]:
                found = [
                    _record(each) | {"parent_id": self.parents.get(each.id, _DOMAIN)}
                    for each in every(getattr(self._directory, many))
                ]
                answer = 200, self._cut(many, found, query)
            case ["users", _, "application_credentials", ident]:
                answer = self._lent("application_credential", ident)
            case ["OS-TRUST", "trusts", ident]:
                answer = self._lent("trust", ident)
            case parts:
                answer = self._answer_of_roles(parts, query)
        return answer

    def _answer_of_roles(self, parts, query):
        answer = 404, b"<title>404 Not Found</title>"
        match parts:
            case ["roles"]:
                roles = [{"id": r.id, "name": r.name} for r in self._directory.roles()]
                roles.append({"id": "x", "name": "x", "domain_id": "far"})
                answer = 200, self._cut("roles", roles, query)
            case ["role_inferences"]:
                told = [
                    {"prior_role": {"id": prior}, "implies": [{"id": role} for role in roles]}
                    for prior, roles in self.inferences.items()
                ]
                answer = 200, {"role_inferences": told}
            case ["role_assignments"] if query.get("user.id") == "tatu":
                answer = 200, self._cut("role_assignments", self.own_grants, query)
            case ["role_assignments"]:
                found = self._assigned(query) if query else self._given()
                answer = 200, self._cut("role_assignments", found, query)
            case ["groups", group, "users"]:
                answer = self._members(unquote(group), query)
        return answer

    def _domain(self):
        return {"id": _DOMAIN, "name": "Default", "enabled": self.domain_enabled}

    def _own(self):
        return {
            "user": {"id": "tatu", "name": "tatu", "domain": {"id": _DOMAIN, "name": "Default"}},
            "methods": ["password"],
            "expires_at": _written(_LATER),
            "roles": [{"id": "id-reader", "name": "reader"}],
            **self.own_scope,
        }

    def _vouched(self, token):
        user, project, more = self._tokens.get(token, (None, None, {}))
        found = self._found(user, self._directory.user)
        place = self._found(project, self._directory.project)
        if found is None or (project is not None and place is None):
            return 404, _error(f"Could not find token: {token}.")
        said = {
            "user": {"id": found.id, "name": found.name, "domain": {"id": _DOMAIN}},
            "methods": ["password"],
            "expires_at": _written(_LATER),
            "catalog": [{"type": "ssh", "name": "tatu", "endpoints": []}],
        }
        if project is not None:
            held = self._directory.effective_roles(found.id, project)
            said["project"] = {"id": project, "name": project, "domain": {"id": _DOMAIN}}
            said["roles"] = [{"id": role.id, "name": role.name} for role in held]
        return 200, {"token": said | more}

    def _found(self, named, find):
        try:
            found = find(named or "")
        except NotFound:
            return None
        return found if found.enabled else None

    def _one(self, noun, ident, find):
        try:
            found = find(ident)
        except NotFound:
            found = None
        if found is None or found.id != ident:
            return 404, _error(f"Could not find {noun}: {ident}.")
        federated = {"federated": [{"idp_id": "idp"}]} if ident in self.federated else {}
        return 200, {noun: _record(found) | federated}

    def _cut(self, many, found, query):
        after = 0
        if "marker" in query and self.goes_on:
            after = [each["id"] for each in found].index(query["marker"]) + 1
        page = found[after : after + min(self.page, int(query.get("limit", 1000)))]
        answer = {many: page, "links": {"next": None, "self": f"{URL}/{many}"}}
        if after + len(page) < len(found):
            answer["truncated"] = True
            if self.links:
                answer["links"]["next"] = f"{URL}/{many}?marker=whatever"
        return answer

    def _assigned(self, query):
        project = query["scope.project.id"]
        users = [query["user.id"]] if "user.id" in query else self._ids()
        return [
            {
                "user": {"id": user},
                "scope": {"project": {"id": project}},
                "role": {"id": role.id}
                | ({"name": role.name} if "include_names" in query else {}),
            }
            for user in users
            for role in self._held(user, project)
        ]

    def _given(self):
        found = self._directory.assignments(project=None, user=None, group=None)
        return [
            {
                "role": {"id": each.role},
                "scope": {"project": {"id": each.project}},
                **({"user": {"id": each.user}} if each.user else {"group": {"id": each.group}}),
            }
            for each in found
        ] + self.handed_down

    def _members(self, group, query):
        try:
            found = [_record(each) for each in self._directory.members(group)]
        except NotFound:
            return 404, _error(f"Could not find group: {group}.")
        return 200, self._cut("users", found, query)

    def _ids(self):
        return [user.id for user in every(self._directory.users)]

    def _held(self, user, project):
        """What was given, to whoever is disabled as well."""
        roles = {role.id: role for role in self._directory.roles()}
        return {
            roles[given.role]
            for given in self._directory.assignments(project=project, user=user, group=None)
        } | set(self._directory.effective_roles(user, project))

    def _lent(self, noun, ident):
        if (noun, ident) not in self._ends:
            return 404, _error(f"Could not find {noun}: {ident}.")
        ends = self._ends[noun, ident]
        more = {"trustee_user_id": self.trustee} if noun == "trust" else {}
        return 200, {noun: {"id": ident, "expires_at": ends and _written(ends)} | more}


def _record(found):
    return {"id": found.id, "name": found.name, "domain_id": _DOMAIN, "enabled": found.enabled}


def _error(message):
    return {"error": {"code": 404, "message": message, "title": "Not Found"}}


def _written(time):
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
