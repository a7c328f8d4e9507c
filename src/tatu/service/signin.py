"""Signing in by SSH key: a challenge, its signature, a bearer token (security.md S7)."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

from tatu.core import bearer
from tatu.core.audit import Actor
from tatu.core.challenge import (
    FRESH_LIFETIME,
    LIFETIME,
    TOKEN_LIFETIME,
    Challenge,
    SignInPurpose,
)
from tatu.core.errors import Denied, NotFound, Unauthenticated
from tatu.core.identity import EMBEDDED_ISSUER, Identity
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.ports import BearerToken, Clock, Ledger, Randomness, Verifier
from tatu.service.audit import event

"""The issuer of identities that the embedded directory vouches for."""

ADMINISTRATOR = "admin"

# One text for every reason: who asks learns neither who exists nor which keys are anybody's.
_REFUSED = "this key does not sign this user in to this project"


class _SecurityKeyNeeded(Denied):
    """The key is the user's own, and not of the kind that their roles ask for."""


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A new token, told this once, and whom it speaks for."""

    token: str = field(repr=False)
    identity: Identity


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """Signs the users of the embedded directory in.

    `url` is where callers reach this deployment; `forget` drops what a cache knows of the token
    with that digest. With `hardware_keys_for_administrators` no other key than a security key
    gets an administrator a token that has the role or changes the directory; the `Verifier` sees
    to the touch. That a key is made in hardware is not attested: whoever adds it answers for that.
    """

    ledger: Ledger
    verifier: Verifier
    clock: Clock
    randomness: Randomness
    url: str
    hardware_keys_for_administrators: bool
    forget: Callable[[str], None]

    def challenge(
        self, *, user: str, project: str, public_key: PublicKey, purpose: SignInPurpose
    ) -> Challenge:
        """Return what the key must sign within a minute; the same whoever exists."""
        challenge = Challenge(
            id=self._random(16),
            deployment=self.url,
            user=user,
            project=project,
            public_key=public_key.line,
            purpose=purpose,
            nonce=self._random(32),
            expires_at=self.clock().replace(microsecond=0) + LIFETIME,
        )
        self.ledger.sign_ins.put_challenge(challenge)
        return challenge

    def redeem(self, challenge_id: str, signature: str, *, request_id: str) -> SignedIn:
        """Give a token for an armored SSHSIG (`login@tatu`) over the challenge's message.

        The challenge is used up, whatever comes of it. Raises `Unauthenticated`, with one text
        for all reasons (but one: an administrator's own key that is no security key), or
        `Malformed` for what is no signature.
        """
        signed = SshSignature.parse(signature)
        challenge = self.ledger.sign_ins.redeem_challenge(challenge_id, self.clock())
        mark = self.ledger.cut_offs.mark()  # before anything is looked up (S4)
        try:
            self._check_signature(challenge, signed)
        except Denied:
            raise Unauthenticated(_REFUSED) from None
        try:
            identity = self._identify(challenge, signed.public_key, mark)
        except _SecurityKeyNeeded as error:  # told: whoever gets here has the user's own key
            self._audit_refusal(challenge, signed.public_key, str(error), request_id)
            raise Unauthenticated(str(error)) from None
        except (Denied, NotFound) as error:
            self._audit_refusal(challenge, signed.public_key, str(error), request_id)
            raise Unauthenticated(_REFUSED) from None
        return self._give_token(identity, signed.public_key, request_id)

    def end(self, identity: Identity, token: str, *, request_id: str) -> None:
        """End a token of the caller's; no error when it is gone."""
        digest = bearer.digest(token)
        self.ledger.sign_ins.end_token(
            digest,
            event(
                "token.ended",
                by=identity,
                at=self.clock(),
                subject=identity.subject,
                request_id=request_id,
            ),
        )
        self.forget(digest)

    def _random(self, size: int) -> str:
        return base64.urlsafe_b64encode(self.randomness(size)).decode().rstrip("=")

    def _check_signature(self, challenge: Challenge, signed: SshSignature) -> None:
        if signed.public_key.line != challenge.public_key:
            raise Denied("the signature is another key's")
        data = signed.signed_bytes(Namespace.LOGIN, challenge.message)
        self.verifier.verify(signed.public_key, signed.signature, data)
        # Asked before any user is looked for: with a key that is nobody's, not even the time that
        # the answer takes tells whether a user exists.
        if "sign-in" not in self.ledger.purposes_of(signed.public_key):
            raise Denied("nobody signs in with this key")

    def _identify(self, challenge: Challenge, public_key: PublicKey, mark: int) -> Identity:
        directory = self.ledger.directory
        user, project = directory.user(challenge.user), directory.project(challenge.project)
        if public_key not in [key.public_key for key in directory.keys(user.id)]:
            raise Denied("the key is somebody else's")
        roles = directory.effective_roles(user.id, project.id)
        if not roles:
            raise Denied("the user or the project is disabled, or there is no role")
        fresh = challenge.purpose is SignInPurpose.ADMINISTER
        now = self.clock()
        identity = Identity(
            issuer=EMBEDDED_ISSUER,
            subject=user.id,
            name=user.name,
            project=project.id,
            roles=roles,
            mark=mark,
            validated_at=now,
            expires_at=now + (FRESH_LIFETIME if fresh else TOKEN_LIFETIME),
            fresh=fresh,
        )
        if self.hardware_keys_for_administrators and not public_key.hardware:
            self._check_no_administrator(identity)
        return identity

    def _check_no_administrator(self, identity: Identity) -> None:
        """Refuse what a software key of an administrator could do harm with.

        A token with the role; and any that may change the directory, wherever the role is held:
        else a copied key adds a security key made in software.
        """
        if ADMINISTRATOR in identity.role_names or (
            identity.fresh
            and self.ledger.directory.holds_anywhere(identity.subject, ADMINISTRATOR)
        ):
            raise _SecurityKeyNeeded("an administrator signs in with a security key (sk-…) here")

    def _audit_refusal(
        self, challenge: Challenge, key: PublicKey, reason: str, request_id: str
    ) -> None:
        """Write down what the holder of somebody's key tried in vain."""
        self.ledger.audit.append(
            event(
                "sign-in.refused",
                by=Actor(kind="key", issuer=EMBEDDED_ISSUER, id=key.fingerprint),
                at=self.clock(),
                subject=challenge.user,
                request_id=request_id,
                project=challenge.project,
                purpose=str(challenge.purpose),
                reason=reason,
            )
        )

    def _give_token(self, identity: Identity, key: PublicKey, request_id: str) -> SignedIn:
        token = bearer.text(self.randomness(bearer.SECRET))
        self.ledger.sign_ins.put_token(
            BearerToken(
                digest=bearer.digest(token),
                user=identity.subject,
                project=identity.project,
                key=key.fingerprint,
                fresh=identity.fresh,
                created_at=identity.validated_at,
                expires_at=identity.expires_at,
            ),
            event(
                "token.created",
                by=identity,
                at=identity.validated_at,
                subject=identity.subject,
                authority=identity.project,
                request_id=request_id,
                key=key.fingerprint,
                fresh=identity.fresh,
                expires_at=identity.expires_at.isoformat(),
            ),
        )
        return SignedIn(token=token, identity=identity)
