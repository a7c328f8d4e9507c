"""What every host fetches: an authority's keys, its statement and its KRL.

Without a token, for it is signed and meant for all; and cheap, for each host asks every few
seconds.
"""

from tatu.api.conditional import FOR_EVER, OCTETS, is_known
from tatu.api.operation import Call, operation
from tatu.api.schemas import Id, PublicKeys, PublishedKey, Serial
from tatu.core.authority import Purpose

_SHORT = "public, max-age=2"


@operation(public=True)
def public_keys(call: Call, authority: Id) -> PublicKeys:
    """Return the public keys that hosts and clients trust."""
    found = call.parts.ledger.authorities.get(authority)
    call.response.set_header("Cache-Control", _SHORT)
    return PublicKeys(
        authority=found.id,
        name=found.name,
        dns_suffix=found.profile.dns_suffix,
        keys=[
            PublishedKey(
                purpose=key.purpose,
                state=key.state,
                public_key=key.public_key.line,
                fingerprint=key.public_key.fingerprint,
            )
            for purpose in Purpose
            for key in found.trusted(purpose)
        ],
    )


@operation(public=True)
def statement(call: Call, authority: Id) -> bytes:
    """Return the newest statement with its signature."""
    known = call.shared.newest.get(authority)
    return b"" if is_known(call, known.statement_etag, _SHORT) else known.body


@operation(public=True, media=OCTETS)
def newest_krl(call: Call, authority: Id) -> bytes:
    """Return the newest KRL."""
    known = call.shared.newest.get(authority)
    if is_known(call, known.krl_etag, _SHORT):
        return b""
    return call.shared.newest.krl(authority, known.publication.krl_version)


@operation(public=True, media=OCTETS)
def krl(call: Call, authority: Id, version: Serial) -> bytes:
    """Return the KRL of a version: these bytes for ever."""
    found = call.shared.newest.krl(authority, version)
    return b"" if is_known(call, f'"{version}"', FOR_EVER) else found
