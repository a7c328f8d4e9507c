"""Signing in by SSH key: challenges and tokens; and who the caller is then."""

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
    limits.take(call.parts, "sign-in-user", rates.sign_in_user, body.user)
    limits.take(call.parts, "sign-in-key", rates.sign_in_key, public_key.fingerprint)
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
