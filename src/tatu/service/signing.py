"""The key of an authority that signs now."""

from tatu.core.authority import RETIRED, Authority, Purpose
from tatu.core.errors import Gone, NotFound, Unavailable
from tatu.ports import KeyStore, Signer


def signer(keystore: KeyStore, authority: Authority, purpose: Purpose) -> Signer:
    """Return the signer of an authority's active key.

    Raises `Gone` when its keys were destroyed after it was retired, or `Unavailable`: a key that
    is lost is ours, and nothing that a caller asked for.
    """
    try:
        return keystore.signer(authority.active(purpose).reference)
    except NotFound as error:
        if authority.retired_at is not None:
            raise Gone(RETIRED) from error
        lost = f"the key store has no {purpose} key of authority {authority.id!r} any more"
        raise Unavailable(lost) from error
