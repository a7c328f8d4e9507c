"""The WSGI application: every route, and the order of everything around them."""

from collections.abc import Mapping
from functools import cache, partial

import falcon
from falcon import Request, Response

from tatu.api import (
    agents,
    assignments,
    audit_events,
    authorities,
    carried,
    certificates,
    enrolments,
    groups,
    hosts,
    logins,
    openapi,
    problems,
    projects,
    publications,
    receipts,
    reports,
    revocations,
    roles,
    sign_ins,
    system,
    users,
    vendordata,
)
from tatu.api.bodies import Bodies
from tatu.api.endpoint import Endpoint
from tatu.api.lag import Lag
from tatu.api.metrics import Metrics
from tatu.api.newest import Newest
from tatu.api.observation import Observation
from tatu.api.operation import Operation, Shared
from tatu.api.parts import Parts
from tatu.api.readiness import Ready
from tatu.api.v1 import authorities as v1_authorities
from tatu.api.v1 import hosts as v1_hosts
from tatu.api.v1 import lists as v1_lists
from tatu.api.v1 import revokedkeys as v1_revokedkeys
from tatu.api.v1 import usercerts as v1_usercerts
from tatu.api.v1 import vendordata as v1_vendordata
from tatu.api.v1 import versions as v1_versions
from tatu.api.v1.door import Door, Slashes
from tatu.core.errors import TatuError

_AUTHORITY = "/v2/authorities/{authority}"

ROUTES: Mapping[str, Mapping[str, Operation]] = {
    # for anyone
    "/": {"GET": system.versions},
    "/healthz": {"GET": system.health},
    "/readyz": {"GET": system.readiness},
    "/metrics": {"GET": system.metrics},
    "/v2": {"GET": system.version},
    "/v2/openapi.json": {"GET": system.openapi},
    f"{_AUTHORITY}/public-keys": {"GET": publications.public_keys},
    f"{_AUTHORITY}/statement": {"GET": publications.statement},
    f"{_AUTHORITY}/krl": {"GET": publications.newest_krl},
    f"{_AUTHORITY}/krl/{{version}}": {"GET": publications.krl},
    "/v2/agent": {"GET": agents.newest},
    "/v2/agent/{digest}": {"GET": agents.show},
    "/v2/agent/{digest}/signature": {"GET": agents.signature},
    "/v2/carried": {"GET": carried.carry},
    "/v2/enrolments": {"POST": enrolments.redeem},
    "/v2/challenges": {"POST": sign_ins.challenge},
    "/v2/tokens": {"POST": sign_ins.token},
    # with a token
    "/v2/tokens/current": {"DELETE": sign_ins.end_token},
    "/v2/whoami": {"GET": sign_ins.whoami},
    "/v2/authorities": {"GET": authorities.listed, "POST": authorities.create},
    _AUTHORITY: {"GET": authorities.show, "PATCH": authorities.change},
    f"{_AUTHORITY}/keys": {"POST": authorities.add_key},
    f"{_AUTHORITY}/keys/{{fingerprint:path}}": {"PATCH": authorities.change_key},
    f"{_AUTHORITY}/user-certificates": {"POST": certificates.create},
    f"{_AUTHORITY}/user-certificates/batch": {"POST": certificates.create_batch},
    f"{_AUTHORITY}/user-certificates/{{serial}}": {"GET": certificates.show_user},
    f"{_AUTHORITY}/host-certificates/{{serial}}": {"GET": certificates.show_host},
    f"{_AUTHORITY}/certificates/{{serial}}/status": {"GET": certificates.status},
    "/v2/user-certificates": {"GET": certificates.list_user},
    "/v2/host-certificates": {"GET": certificates.list_host},
    f"{_AUTHORITY}/revocations": {"POST": revocations.create},
    f"{_AUTHORITY}/blocks": {"GET": revocations.list_blocks},
    f"{_AUTHORITY}/blocks/{{block}}": {"DELETE": revocations.lift_block},
    "/v2/hosts": {"GET": hosts.listed},
    f"{_AUTHORITY}/hosts/{{host}}": {"GET": hosts.show, "DELETE": hosts.delete},
    f"{_AUTHORITY}/hosts/{{host}}/certificates": {"POST": hosts.renew},
    f"{_AUTHORITY}/hosts/{{host}}/receipt": {"GET": receipts.show, "PUT": receipts.take},
    f"{_AUTHORITY}/hosts/{{host}}/report": {"PUT": reports.take},
    f"{_AUTHORITY}/hosts/{{host}}/sessions": {"GET": reports.sessions},
    f"{_AUTHORITY}/hosts/{{host}}/logins": {"POST": logins.take},
    f"{_AUTHORITY}/receipts": {"GET": receipts.listed},
    "/v2/logins": {"GET": logins.listed},
    f"{_AUTHORITY}/enrolment-tokens": {"POST": hosts.admit},
    "/v2/vendordata/nova": {"POST": vendordata.nova},
    "/v2/audit-events": {"GET": audit_events.listed},
    # the embedded directory
    "/v2/projects": {"GET": projects.listed, "POST": projects.create},
    "/v2/projects/{project}": {
        "GET": projects.show,
        "PATCH": projects.change,
        "DELETE": projects.delete,
    },
    "/v2/users": {"GET": users.listed, "POST": users.create},
    "/v2/users/{user}": {"GET": users.show, "PATCH": users.change, "DELETE": users.delete},
    "/v2/users/{user}/keys": {"GET": users.list_keys, "POST": users.add_key},
    "/v2/users/{user}/keys/{fingerprint:path}": {"DELETE": users.remove_key},
    "/v2/groups": {"GET": groups.listed, "POST": groups.create},
    "/v2/groups/{group}": {"GET": groups.show, "DELETE": groups.delete},
    "/v2/groups/{group}/members": {"GET": groups.list_members},
    "/v2/groups/{group}/members/{user}": {
        "PUT": groups.add_member,
        "DELETE": groups.remove_member,
    },
    "/v2/roles": {"GET": roles.listed, "POST": roles.create},
    "/v2/roles/{role}": {"GET": roles.show, "DELETE": roles.delete},
    "/v2/assignments": {"GET": assignments.listed, "POST": assignments.create},
    "/v2/assignments/removals": {"POST": assignments.remove},
}

V1_ROUTES: Mapping[str, Mapping[str, Operation]] = {
    # for anyone; the root is the original's, and names both versions
    "/": {"GET": v1_versions.versions},
    "/v1": {"GET": v1_versions.version},
    # with a token
    "/v1/authorities": {"GET": v1_authorities.listed, "POST": v1_authorities.create},
    "/v1/authorities/{auth_id}": {"GET": v1_authorities.show},
    "/v1/usercerts": {"GET": v1_usercerts.listed, "POST": v1_usercerts.create},
    "/v1/usercerts/{which}": {"GET": v1_usercerts.show},
    "/v1/usercerts/{which}/{fingerprint}": {"GET": v1_usercerts.show_by_key},
    "/v1/hosts": {"GET": v1_hosts.listed},
    "/v1/hosts/{host_id}": {"GET": v1_hosts.show},
    "/v1/hostcerts": {"GET": v1_hosts.list_certificates, "POST": v1_hosts.create_certificate},
    "/v1/hostcerts/{host_id}/{fingerprint}": {"GET": v1_hosts.show_certificate},
    "/v1/hosttokens": {"POST": v1_hosts.create_token},
    "/v1/novavendordata": {"POST": v1_vendordata.create},
    "/v1/revokeduserkeys/{auth_id}": {
        "GET": v1_revokedkeys.show,
        "POST": v1_revokedkeys.create,
    },
    "/v1/pats": {"GET": v1_lists.pats},
}
"""The original's wire; behind `[original_wire] enabled`. In OpenAPI it is not: it is described
where it was made, reads bodies of any type, and nobody should write a new client of it."""

NOAUTH_ROUTES: Mapping[str, Mapping[str, Operation]] = {
    "/noauth": {"GET": v1_versions.versions},
    "/noauth/v1": {"GET": v1_versions.version},
    "/noauth/hostcerts": {
        "GET": v1_versions.absent,
        "POST": v1_hosts.create_certificate_for_anyone,
    },
    "/noauth/revokeduserkeys/{auth_id}": {
        "GET": v1_revokedkeys.show_to_anyone,
        "POST": v1_versions.absent,
    },
}
"""What instances of the original need, for anyone; behind `[original_wire] noauth`."""


def create_app(parts: Parts) -> falcon.App[Request, Response]:
    """Build the application from its parts."""
    metrics = Metrics()
    shared = Shared(
        parts=parts,
        newest=Newest(
            ledger=parts.ledger,
            statements=parts.statements,
            clock=parts.clock,
            api_endpoint=parts.settings.api_endpoint,
        ),
        metrics=metrics,
        lag=Lag(parts.receipts.lag, parts.clock),
        bodies=Bodies(parts.settings.threads),
        ready=Ready(parts.checks),
        openapi=cache(partial(openapi.document, ROUTES, parts.settings.api_endpoint)),
        app=lambda environ, start: app(environ, start),  # noqa: PLW0108 (it is made of this)
    )
    observation = Observation(metrics, sign_in_url=parts.identities.sign_in_url)
    app: falcon.App[Request, Response] = falcon.App(middleware=[observation, Slashes()])
    app.req_options.keep_blank_qs_values = True  # an empty filter is refused, not overlooked
    app.add_error_handler(Exception, problems.unexpected)
    app.add_error_handler(TatuError, problems.tatu_error)
    app.set_error_serializer(problems.http_error)
    for path, resource in _resources(shared).items():
        app.add_route(path, resource)
    return app


def _resources(shared: Shared) -> Mapping[str, object]:
    doors = shared.parts.settings.original_wire
    old = {**(V1_ROUTES if doors.enabled else {}), **(NOAUTH_ROUTES if doors.noauth else {})}
    return {
        **{path: Endpoint(shared, operations) for path, operations in ROUTES.items()},
        **{path: Door(shared, operations) for path, operations in old.items()},
    }
