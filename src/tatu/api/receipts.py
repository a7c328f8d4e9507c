"""Which hosts have shown to obey which revocations."""

import json

from tatu.api import paging, shown, told
from tatu.api.hostschemas import (
    HostReceiptShown,
    ReceiptFilters,
    ReceiptList,
    ReceiptRequest,
    ReceiptShown,
    ReceiptTaken,
)
from tatu.api.operation import Call, operation
from tatu.api.schemas import HostId, Id
from tatu.core.claims import Receipt
from tatu.core.errors import Malformed
from tatu.service.receipts import SignedStatement


@operation(by_host=True, uses_nonce=True)
def take(call: Call, authority: Id, host: HostId, body: ReceiptRequest) -> ReceiptTaken:
    """Take a host's receipt."""
    if (body.statement is None) != (body.signature is None):
        raise Malformed("body: a statement is shown with its signature")
    now, signer = call.parts.clock(), call.host_caller.host
    call.parts.receipts.take(
        Receipt(
            authority=authority,
            host=host,
            statement_version=body.statement_version,
            krl_version=body.krl_version,
            krl_digest=body.krl_digest,
            at=told.moment(body.at),
            received_at=now,
        ),
        told.proof(call),
        call.host_caller.nonce,
        shown=None
        if body.statement is None or body.signature is None
        else SignedStatement(text=body.statement.encode(), signature=body.signature),
        request_id=call.request_id,
    )
    return ReceiptTaken(renewal_due=signer.renewal_due_at is not None)


@operation(rule="tatu:receipts:list")
def listed(call: Call, authority: Id, query: ReceiptFilters) -> ReceiptList:
    """List hosts by whether they have shown to obey a KRL version: first those that have not."""
    receipts = call.parts.receipts
    progress = receipts.progress(authority, query.at_least)
    page = receipts.list(authority, progress.at_least, limit=query.limit, marker=query.marker)
    return ReceiptList(
        at_least=progress.at_least,
        hosts=progress.hosts,
        done=progress.done,
        items=[
            HostReceiptShown(
                host=found.host,
                done=found.receipt is not None and found.receipt.krl_version >= progress.at_least,
                receipt=None if found.receipt is None else shown.receipt(found.receipt),
                not_enrolled_since=None
                if found.not_enrolled_since is None
                else shown.when(found.not_enrolled_since),
            )
            for found in page.items
        ],
        links=paging.links(call, page.marker),
    )


@operation(rule="tatu:receipts:list")
def show(call: Call, authority: Id, host: HostId) -> ReceiptShown:
    """Show a host's receipt, with its proof."""
    receipt, proof = call.parts.ledger.receipts.get(authority, host)
    return shown.receipt(receipt, proof=json.loads(proof))
