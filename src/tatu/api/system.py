"""What anyone may ask of a deployment: versions, health, metrics, and what else there is."""

from contextlib import suppress

from tatu.api.operation import Call, operation
from tatu.api.schemas import Health, Link, Readiness, Version, VersionEntry, Versions
from tatu.core.errors import Unavailable


@operation(public=True, status=300)
def versions(call: Call) -> Versions:
    """List the versions of the API."""
    return Versions(versions=[_current(call)])


@operation(public=True)
def version(call: Call) -> Version:
    """Tell what a client must know before it signs in."""
    settings = call.parts.settings
    return Version(
        version=_current(call),
        deployment=call.parts.deployment,
        identity=settings.identity_driver,
        url=settings.api_endpoint,
        auth_url=call.parts.identities.sign_in_url,
        watch=settings.watch,
    )


def _current(call: Call) -> VersionEntry:
    href = f"{call.parts.settings.api_endpoint}/v2"
    return VersionEntry(id="v2", status="CURRENT", links=[Link(rel="self", href=href)])


@operation(public=True)
def health(call: Call) -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@operation(public=True)
def readiness(call: Call) -> Readiness:
    """Tell whether each part answers; 503 when one does not without which nothing is served."""
    checks = call.shared.ready.checks()
    failed = {name for name, found in checks.items() if found != "ok"}
    if failed & call.parts.needed:
        call.response.status = 503
        return Readiness(status="unready", checks=checks)
    return Readiness(status="degraded" if failed else "ready", checks=checks)


@operation(public=True, media="text/plain; version=0.0.4; charset=utf-8")
def metrics(call: Call) -> bytes:
    """Count what was done, for Prometheus; the ledger's figures as of when it last answered."""
    with suppress(Unavailable):
        call.shared.metrics.set_held(len(call.parts.ledger.holds.standing()))
        call.shared.lag.tell(call.shared.metrics)
    return call.shared.metrics.text()


@operation(public=True)
def openapi(call: Call) -> bytes:
    """Describe this API (OpenAPI 3.1)."""
    return call.shared.openapi()
