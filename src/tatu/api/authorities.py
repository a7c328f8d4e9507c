"""Authorities and their keys."""

from dataclasses import replace
from datetime import timedelta

from tatu.api import paging, shown
from tatu.api.operation import Call, operation
from tatu.api.schemas import (
    AuthorityChange,
    AuthorityList,
    AuthorityRequest,
    AuthorityShown,
    Fingerprint,
    Id,
    KeyChange,
    KeyRequest,
    Paging,
    ProfileChange,
)
from tatu.core.authority import KeyState, Profile, Purpose
from tatu.core.errors import Conflict, Malformed, NotFound
from tatu.core.policy import network


@operation(rule="tatu:authorities:list")
def listed(call: Call, query: Paging) -> AuthorityList:
    """List the authorities that the caller may know of."""
    page = call.parts.authorities.list(only=call.scope, limit=query.limit, marker=query.marker)
    return AuthorityList(
        items=[shown.authority(found) for found in page.items],
        links=paging.links(call, page.marker),
    )


@operation(rule="tatu:authorities:create", status=201, kept=True, publishes=True)
def create(call: Call, body: AuthorityRequest) -> AuthorityShown:
    """Make a project's authority: a user, a host and a statement key."""
    caller, parts = call.caller, call.parts
    project = body.project or caller.project
    if project is None:
        raise Malformed("the token has no project; name one")
    if project != caller.project and call.scope is not None:
        raise NotFound(f"there is no project {project!r}")
    found = parts.identities.project(project)
    if not found.enabled:
        raise Conflict(f"project {project!r} is disabled")
    return shown.authority(
        parts.authorities.create(caller, found.id, found.name, request_id=call.request_id)
    )


@operation(rule="tatu:authorities:show")
def show(call: Call, authority: Id) -> AuthorityShown:
    """Show an authority."""
    return shown.authority(call.parts.authorities.show(authority))


@operation(rule="tatu:authorities:change", publishes=True)
def change(call: Call, authority: Id, body: AuthorityChange) -> AuthorityShown:
    """Change an authority's limits; what is not named stays.

    Another DNS suffix needs a rule of its own: whoever sets it to somebody else's domain makes
    hosts that this authority's clients take for theirs.
    """
    found = call.parts.authorities.show(authority)
    if body.profile.dns_suffix not in (None, found.profile.dns_suffix):
        call.parts.access.require(
            call.caller, "tatu:authorities:change_dns_suffix", {"authority": authority}
        )
    return shown.authority(
        call.parts.authorities.change_profile(
            call.caller,
            authority,
            _changed(found.profile, body.profile),
            request_id=call.request_id,
        )
    )


@operation(rule="tatu:authority_keys:create", status=201, kept=True, publishes=True)
def add_key(call: Call, authority: Id, body: KeyRequest) -> AuthorityShown:
    """Make a key that hosts learn to trust before it signs."""
    return shown.authority(
        call.parts.authorities.add_key(
            call.caller, authority, Purpose(body.purpose), request_id=call.request_id
        )
    )


@operation(rule="tatu:authority_keys:change", publishes=True)
def change_key(
    call: Call, authority: Id, fingerprint: Fingerprint, body: KeyChange
) -> AuthorityShown:
    """Activate or retire a key; revoking it, or not waiting for hosts, needs its own rule."""
    for asked, rule in (
        (body.revoked, "tatu:authority_keys:revoke"),
        (body.at_once, "tatu:authority_keys:activate_at_once"),
    ):
        if asked:
            call.parts.access.require(call.caller, rule, {"authority": authority})
    return shown.authority(
        call.parts.authorities.change_key(
            call.caller,
            authority,
            fingerprint,
            KeyState(body.state),
            revoked=body.revoked,
            at_once=body.at_once,
            request_id=call.request_id,
        )
    )


def _changed(profile: Profile, change: ProfileChange) -> Profile:
    def span(seconds: int | None, now: timedelta) -> timedelta:
        return now if seconds is None else timedelta(seconds=seconds)

    return replace(
        profile,
        user_validity=span(change.user_validity, profile.user_validity),
        max_user_validity=span(change.max_user_validity, profile.max_user_validity),
        host_validity=span(change.host_validity, profile.host_validity),
        extensions=profile.extensions
        if change.extensions is None
        else frozenset(change.extensions),
        source_addresses=profile.source_addresses
        if change.source_addresses is None
        else tuple(str(network(text)) for text in change.source_addresses),
        dns_suffix=profile.dns_suffix if change.dns_suffix is None else change.dns_suffix,
        pam_sudo=profile.pam_sudo if change.pam_sudo is None else change.pam_sudo,
    )
