"""Signing in by SSH key: challenges and tokens; and who the caller is then.

Limits by user and key are of that user and key at one address: names and public keys are no
secrets, and whoever names somebody else's must not lock them out elsewhere. They are lower than
the address's own, so that one user there does not use up what all of an office have. Signatures
cannot be guessed, so attempts from many addresses gain nothing.
"""

from tatu.api import limits, shown
from tatu.api.operation import Call, operation
from tatu.api.schemas import ChallengeRequest, ChallengeShown, TokenRequest, TokenShown, WhoAmI
from tatu.core import bearer
from tatu.core.challenge import SignInPurpose
from tatu.core.errors import NotFound
from tatu.core.keys import PublicKey
from tatu.service.signin import SignIn


@operation(public=True, status=201, address_rate="sign_in_address")
def challenge(call: Call, body: ChallengeRequest) -> ChallengeShown:
    """Return what a key must sign within a minute; the same whoever exists."""
    public_key = PublicKey.parse(body.public_key)
    rates = call.parts.settings.rates
    where = limits.address(call.request, call.parts.settings.trusted_proxies)
    limits.take(call.parts, "sign-in-user", rates.sign_in_user, body.user, where)
    limits.take(call.parts, "sign-in-key", rates.sign_in_key, public_key.fingerprint, where)
    made = _sign_in(call).challenge(
        user=body.user,
        project=body.project,
        public_key=public_key,
        purpose=SignInPurpose(body.purpose),
    )
    return ChallengeShown(
        id=made.id, message=made.message.decode(), expires_at=shown.when(made.expires_at)
    )


@operation(public=True, status=201, address_rate="sign_in_address")
def token(call: Call, body: TokenRequest) -> TokenShown:
    """Give a token for a signed challenge, which is used up by this."""
    signed_in = _sign_in(call).redeem(body.challenge, body.signature, request_id=call.request_id)
    return TokenShown(
        token=signed_in.token,
        expires_at=shown.when(signed_in.identity.expires_at),
        identity=shown.identity(signed_in.identity),
    )


@operation()
def whoami(call: Call) -> WhoAmI:
    """Tell who the caller is."""
    return shown.identity(call.caller)


@operation()
def end_token(call: Call) -> None:
    """End the token that this request came with."""
    text = bearer.from_header(call.facts.headers.get("authorization"))
    _sign_in(call).end(call.caller, text, request_id=call.request_id)


def _sign_in(call: Call) -> SignIn:
    if call.parts.sign_in is None:
        raise NotFound("users sign in elsewhere")
    return call.parts.sign_in
