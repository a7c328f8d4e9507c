"""Revocations, and the blocks that some of them leave."""

from typing import Annotated

from msgspec import Meta

from tatu.api import limits, shown
from tatu.api.operation import Call, operation
from tatu.api.schemas import BlockList, BlockShown, Id, Links, RevocationRequest, RevocationShown
from tatu.core.errors import Malformed
from tatu.ports import RevocationSelector

_BLOCK_KEY = "tatu:revocations:block_key"
BlockId = Annotated[int, Meta(ge=1, le=2**63 - 1)]


@operation(rule="tatu:revocations:create", kept=True, publishes=True, audited=True)
def create(call: Call, authority: Id, body: RevocationRequest) -> RevocationShown:
    """Revoke certificates; on return every KRL that is served has them.

    A subject key stands for its certificates in this authority; when it is blocked for itself,
    whoever uses it, which ends somebody else's certificate for the same key too (security.md S6).
    """
    _one_of(body)
    count(call)
    selector = _own(call, authority, body) or _anybodys(call, authority, body)
    done = call.parts.revocation.revoke(
        call.caller, selector, body.reason, request_id=call.request_id
    )
    return RevocationShown(revoked=list(done.serials), krl_version=done.krl_version)


@operation(rule="tatu:blocks:list")
def list_blocks(call: Call, authority: Id) -> BlockList:
    """List the users, keys and hosts that get no new certificate."""
    found = call.parts.ledger.revocations.blocks(authority)
    return BlockList(
        items=[
            BlockShown(
                id=block.id,
                authority=block.authority,
                kind=block.kind,
                value=block.value,
                reason=block.reason,
                by=block.by,
                at=shown.when(block.at),
            )
            for block in found
        ],
        links=Links(),
    )


@operation(rule="tatu:blocks:delete")
def lift_block(call: Call, authority: Id, block: BlockId) -> None:
    """Lift a block; certificates stay revoked."""
    call.parts.revocation.clear_block(call.caller, authority, block, request_id=call.request_id)


def count(call: Call) -> None:
    """Count a revocation against the caller's limit; raises `TooMany`."""
    rate, caller = call.parts.settings.rates.revocations_account, call.caller
    limits.take(call.parts, "revocations", rate, caller.issuer, caller.subject)


def _one_of(body: RevocationRequest) -> None:
    named = [body.serial, body.subject_key, body.user, body.host, body.everything]
    if len(named) - named.count(None) != 1:
        raise Malformed("name exactly one of serial, subject_key, user, host, everything")
    if body.block and (body.serial or body.everything):
        raise Malformed("only a subject key, a user or a host can be blocked")


def _own(call: Call, authority: str, body: RevocationRequest) -> RevocationSelector | None:
    """Return what a caller may revoke of their own, if that is all that they may."""
    caller, access = call.caller, call.parts.access
    own = access.own_only(caller, "tatu:revocations:create_project", authority)
    if own is None:
        return None
    if body.block or body.everything or body.host or body.user not in (None, own):
        access.require(caller, "tatu:revocations:create_project", {"authority": authority})
    return RevocationSelector(
        authority=authority,
        serial=body.serial,
        subject_key=body.subject_key,
        subject=body.user,
        subjects_only=own,
    )


def _anybodys(call: Call, authority: str, body: RevocationRequest) -> RevocationSelector:
    """Return what a caller may revoke of anybody's, which blocks unless they ask it not to."""
    caller, access = call.caller, call.parts.access
    block = body.block
    if block and body.subject_key:
        access.require(caller, _BLOCK_KEY, {"authority": authority})
    elif block is None and body.subject_key:
        block = access.own_only(caller, _BLOCK_KEY, authority) is None
    elif block is None:
        block = bool(body.user or body.host)
    return RevocationSelector(
        authority=authority,
        serial=body.serial,
        subject_key=body.subject_key,
        subject=body.user,
        host=body.host,
        everything=bool(body.everything),
        block=block,
        known=body.block is None,
    )
