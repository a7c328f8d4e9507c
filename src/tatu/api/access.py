"""Who may do what: oslo.policy's rules with our defaults, and the scope of every query.

A rule says which role is needed; the scope says in which projects it counts.  What is out of scope
is `NotFound` before anything is looked up, so that foreign and absent ids read the same
(security.md S10).
"""

import itertools
import time
from collections.abc import Callable, Mapping

from oslo_config.cfg import ConfigOpts
from oslo_policy import policy

from tatu.core import own
from tatu.core.errors import Denied, NotFound
from tatu.core.identity import Identity

ALL_PROJECTS = "tatu:all_projects"
DECIDED_FOR = 1.0
"""Seconds for which a decision stands: then policy files are looked at again."""

_ROLES = ("admin", "manager", "member", "reader")
_EXACT = frozenset({*_ROLES, own.VENDORDATA_ROLE})
_AUTHORITY = "/v2/authorities/{authority}"

# rule, who by default, what it allows, where it is asked
_DEFAULTS: tuple[tuple[str, str, str, str], ...] = (
    ("projects:list", "admin", "List projects", "GET /v2/projects"),
    ("projects:show", "admin", "Show a project", "GET /v2/projects/{project}"),
    ("projects:create", "admin", "Add a project", "POST /v2/projects"),
    ("projects:change", "admin", "Enable or disable a project", "PATCH /v2/projects/{project}"),
    ("projects:delete", "admin", "Delete a project", "DELETE /v2/projects/{project}"),
    ("users:list", "admin", "List users", "GET /v2/users"),
    ("users:show", "admin", "Show a user", "GET /v2/users/{user}"),
    ("users:create", "admin", "Add a user", "POST /v2/users"),
    ("users:change", "admin", "Enable or disable a user", "PATCH /v2/users/{user}"),
    ("users:delete", "admin", "Delete a user", "DELETE /v2/users/{user}"),
    ("user_keys:list", "self", "List a user's sign-in keys", "GET /v2/users/{user}/keys"),
    ("user_keys:create", "self", "Add a sign-in key", "POST /v2/users/{user}/keys"),
    (
        "user_keys:delete",
        "self",
        "Remove a sign-in key",
        "DELETE /v2/users/{user}/keys/{fingerprint}",
    ),
    ("groups:list", "admin", "List groups", "GET /v2/groups"),
    ("groups:show", "admin", "Show a group", "GET /v2/groups/{group}"),
    ("groups:create", "admin", "Add a group", "POST /v2/groups"),
    ("groups:delete", "admin", "Delete a group", "DELETE /v2/groups/{group}"),
    ("group_members:list", "admin", "List a group's users", "GET /v2/groups/{group}/members"),
    (
        "group_members:create",
        "admin",
        "Add a user to a group",
        "PUT /v2/groups/{group}/members/{user}",
    ),
    (
        "group_members:delete",
        "admin",
        "Remove a user from a group",
        "DELETE /v2/groups/{group}/members/{user}",
    ),
    ("roles:list", "anyone", "List roles", "GET /v2/roles"),
    ("roles:show", "anyone", "Show a role", "GET /v2/roles/{role}"),
    ("roles:create", "admin", "Add a role", "POST /v2/roles"),
    ("roles:delete", "admin", "Delete a role", "DELETE /v2/roles/{role}"),
    ("assignments:list", "admin", "List who holds which role", "GET /v2/assignments"),
    ("assignments:create", "admin", "Give a role", "POST /v2/assignments"),
    ("assignments:delete", "admin", "Take a role away", "POST /v2/assignments/removals"),
    ("authorities:list", "reader", "List authorities", "GET /v2/authorities"),
    ("authorities:show", "reader", "Show an authority", f"GET {_AUTHORITY}"),
    ("authorities:create", "manager", "Make a project's authority", "POST /v2/authorities"),
    ("authorities:change", "manager", "Change an authority's limits", f"PATCH {_AUTHORITY}"),
    (
        "authorities:change_dns_suffix",
        "admin",
        "Change the names that an authority speaks for: its clients believe its hosts under them",
        f"PATCH {_AUTHORITY}",
    ),
    ("authority_keys:create", "manager", "Add a next key", f"POST {_AUTHORITY}/keys"),
    (
        "authority_keys:change",
        "manager",
        "Activate or retire a key",
        f"PATCH {_AUTHORITY}/keys/{{fingerprint}}",
    ),
    (
        "authority_keys:activate_at_once",
        "admin",
        "Let a key sign that hosts may not have heard of: they obey or believe nothing by it",
        f"PATCH {_AUTHORITY}/keys/{{fingerprint}}",
    ),
    (
        "authority_keys:revoke",
        "admin",
        "Revoke a key and all that it signed",
        f"PATCH {_AUTHORITY}/keys/{{fingerprint}}",
    ),
    (
        "user_certificates:create",
        "member",
        "Get a certificate for a key of one's own",
        f"POST {_AUTHORITY}/user-certificates · POST {_AUTHORITY}/user-certificates/batch",
    ),
    (
        "user_certificates:list",
        "member",
        "See one's own certificates",
        f"GET /v2/user-certificates · GET {_AUTHORITY}/user-certificates/{{serial}}",
    ),
    (
        "user_certificates:list_project",
        "manager",
        "See every user's certificates of the project",
        f"GET /v2/user-certificates · GET {_AUTHORITY}/user-certificates/{{serial}}",
    ),
    (
        "host_certificates:list",
        "reader",
        "See the project's host certificates",
        f"GET /v2/host-certificates · GET {_AUTHORITY}/host-certificates/{{serial}}",
    ),
    (
        "certificates:status",
        "reader",
        "Ask whether a certificate is valid",
        f"GET {_AUTHORITY}/certificates/{{serial}}/status",
    ),
    (
        "revocations:create",
        "member",
        "Revoke one's own certificates, by serial, subject key or user",
        f"POST {_AUTHORITY}/revocations",
    ),
    (
        "revocations:create_project",
        "manager",
        "Revoke anybody's certificates of the project",
        f"POST {_AUTHORITY}/revocations",
    ),
    (
        "revocations:block_key",
        "admin",
        "Revoke a subject key itself, whoever uses it",
        f"POST {_AUTHORITY}/revocations",
    ),
    ("blocks:list", "manager", "List who gets no certificate", f"GET {_AUTHORITY}/blocks"),
    ("blocks:delete", "admin", "Lift a block", f"DELETE {_AUTHORITY}/blocks/{{block}}"),
    ("hosts:list", "reader", "List hosts", "GET /v2/hosts"),
    ("hosts:show", "reader", "Show a host", f"GET {_AUTHORITY}/hosts/{{host}}"),
    (
        "receipts:list",
        "reader",
        "See which hosts obey the newest revocations",
        f"GET {_AUTHORITY}/receipts · GET {_AUTHORITY}/hosts/{{host}}/receipt",
    ),
    (
        "sessions:list",
        "manager",
        "See who is logged in to a host",
        f"GET {_AUTHORITY}/hosts/{{host}}/sessions",
    ),
    ("logins:list", "member", "See one's own logins", "GET /v2/logins"),
    (
        "logins:list_project",
        "manager",
        "See all logins to the project's hosts",
        "GET /v2/logins",
    ),
    ("hosts:delete", "manager", "Delete a host", f"DELETE {_AUTHORITY}/hosts/{{host}}"),
    (
        "enrolment_tokens:create",
        "manager",
        "Admit a host and get its enrolment token",
        f"POST {_AUTHORITY}/enrolment-tokens",
    ),
    (
        "vendordata:create",
        "vendordata",
        "Let Nova tell its instances how to enrol",
        "POST /v2/vendordata/nova",
    ),
    ("audit_events:list", "manager", "Read the audit chain", "GET /v2/audit-events"),
)
_CHECKS = {
    "anyone": "@",
    "self": "rule:admin or user_id:%(user)s",
    "vendordata": f"role:{own.VENDORDATA_ROLE}",
    **{role: f"rule:{role}" for role in _ROLES},
}


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule with its default (entry point `oslo.policy.policies`)."""
    rules = [policy.RuleDefault("admin", "role:admin", "Administers all projects")]
    for stronger, role in itertools.pairwise(_ROLES):
        rules.append(
            policy.RuleDefault(
                role, f"rule:{stronger} or role:{role}", f"Is {role}, or {stronger}"
            )
        )
    rules.append(
        policy.RuleDefault(
            ALL_PROJECTS, "rule:admin", "Sees and touches other projects than one's own"
        )
    )
    for name, who, does, asked in _DEFAULTS:
        operations = [
            policy.Operation(method=method, path=path)
            for method, path in (each.split() for each in asked.split(" · "))
        ]
        rules.append(policy.DocumentedRuleDefault(f"tatu:{name}", _CHECKS[who], does, operations))
    return rules


class Access:
    """Asks oslo.policy; what is refused raises."""

    def __init__(self, conf: ConfigOpts, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._decided: dict[object, bool] = {}
        self._decided_until = 0.0
        self._enforcer = policy.Enforcer(conf)
        self._enforcer.register_defaults(list_rules())
        self._enforcer.load_rules()

    def require(self, identity: Identity, rule: str, target: Mapping[str, object]) -> None:
        """Raise `Denied` unless the rule allows it."""
        if not self._allows(identity, rule, target):
            raise Denied(f"{rule} is not allowed to you in this project")

    def scope(self, identity: Identity) -> tuple[str, ...] | None:
        """Return the authorities that a caller may know of: None is all, empty is none."""
        if self._allows(identity, ALL_PROJECTS, {}):
            return None
        return () if identity.project is None else (identity.project,)

    def within(self, identity: Identity, authority: str) -> None:
        """Raise `NotFound` for an authority out of scope, as for one that is absent."""
        if identity.project != authority and self.scope(identity) is not None:
            raise NotFound(f"there is no authority {authority!r}")

    def own_only(self, identity: Identity, rule: str, authority: str | None) -> str | None:
        """Return the caller's id when the rule does not give them what is others', else None."""
        return None if self._allows(identity, rule, {"authority": authority}) else identity.subject

    def _allows(self, identity: Identity, rule: str, target: Mapping[str, object]) -> bool:
        """Decide once for the same caller and target: oslo.policy looks at its files each time."""
        ticks = self._ticks()
        if ticks >= self._decided_until:
            self._decided, self._decided_until = {}, ticks + DECIDED_FOR
        decided = self._decided
        asked = (rule, identity.subject, identity.project, identity.roles, *target.items())
        if asked not in decided:
            decided[asked] = self._enforce(identity, rule, target)
        return decided[asked]

    def _enforce(self, identity: Identity, rule: str, target: Mapping[str, object]) -> bool:
        credentials = {
            "user_id": identity.subject,
            "project_id": identity.project,
            # oslo.policy compares roles without case: whoever may name a role `Admin` must not
            # make an administrator by it.
            "roles": [
                name
                for name in identity.role_names
                if name in _EXACT or name.lower() not in _EXACT
            ],
        }
        return bool(self._enforcer.enforce(rule, target, credentials))
