"""The embedded key store: private keys in envelopes, kept in the ledger.

They are PKCS #8 inside of the envelope, and open in memory alone: never in a file or an error.
"""

from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg

from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import Conflict, Malformed, NotFound, Unavailable
from tatu.core.keys import PublicKey
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.envelope import Envelope
from tatu.drivers.keystore.kek import Keks
from tatu.drivers.keystore.signer import generate
from tatu.drivers.keystore.signers import Signers, encode
from tatu.drivers.loading import Driver
from tatu.ports import KeyStore, Randomness, Secrets, Signer

SECRET_SIZE = 32

_KEY = "keystore:key:"
_SECRET = "keystore:secret:"  # noqa: S105 - a prefix of names
_PROBE = "probe"
_ATTEMPTS = 8


@dataclass(frozen=True, kw_only=True)
class Local(KeyStore):
    """Keeps each key in an envelope of its own, and opened ones in memory."""

    secrets: Secrets
    keks: Keks = field(repr=False)
    randomness: Randomness
    _signers: Signers = field(default_factory=Signers, init=False, repr=False)
    _opened: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)

    def create(self, algorithm: KeyAlgorithm) -> tuple[str, PublicKey]:
        """Make a key; durable on return."""
        private_key = generate(algorithm)
        reference = self.randomness(16).hex()
        self._put(_KEY + reference, encode(private_key))
        return reference, self._signers.keep(reference, private_key).public_key

    def signer(self, reference: str) -> Signer:
        """Return the signer of a key, opened at the first call."""
        return self._signers.get(reference, self._open_key)

    def delete(self, reference: str) -> None:
        """Destroy a key."""
        self.secrets.delete(_KEY + reference)
        self._signers.forget(reference)

    def secret(self, name: str) -> bytes:
        """Return the deployment's secret of this name, made at the first call."""
        opened = self._opened.get(name)
        if opened is None:
            opened = self._opened[name] = self._secret(_SECRET + name)
        return opened

    def check(self) -> None:
        """Open a secret of its own: the ledger answers, and the KEK is the right one."""
        self._secret(_SECRET + _PROBE)

    def rewrap(self) -> int:
        """Wrap by the current KEK what an older one wraps; return how many.

        May be run again at any time. Raises `Unavailable` at the first that cannot be opened.
        """
        return sum(self._rewrap(name) for name in self.names())

    def abandon(self) -> tuple[str, ...]:
        """Forget for ever what no KEK at hand opens; return the names.

        Secrets are made anew when they are next asked for; keys are to be rotated.
        """
        lost = tuple(name for name in self.names() if self._is_lost(name))
        for name in lost:
            self.secrets.delete(name)
        return lost

    def names(self) -> tuple[str, ...]:
        """Return the names of all that this key store keeps."""
        return tuple(name for name in self.secrets.names() if name.startswith((_KEY, _SECRET)))

    def probe(self, name: str) -> bool:
        """Open a secret of `names`: tell whether the current KEK wraps it.

        Raises `Unavailable` when it cannot be opened.
        """
        envelope = Envelope.read(self.secrets.get(name), name)
        envelope.open(self.keks, name)
        return envelope.kek_id == self.keks.current.id

    def _is_lost(self, name: str) -> bool:
        stored = self.secrets.get(name)
        try:
            Envelope.read(stored, name).open(self.keks, name)
        except Unavailable:
            return True
        return False

    def _put(self, name: str, secret: bytes) -> None:
        envelope = Envelope.seal(self.keks.current, name, secret, self.randomness)
        self.secrets.put(name, envelope.encoded)

    def _open(self, name: str) -> bytes:
        return Envelope.read(self.secrets.get(name), name).open(self.keks, name)

    def _open_key(self, reference: str) -> bytes:
        try:
            return self._open(_KEY + reference)
        except NotFound:
            raise NotFound(f"there is no key {reference!r}") from None

    def _secret(self, name: str) -> bytes:
        try:
            return self._open(name)
        except NotFound:
            secret = self.randomness(SECRET_SIZE)
        try:
            self._put(name, secret)
        except Conflict:  # another process was faster: its secret is the one
            return self._open(name)
        return secret

    def _rewrap(self, name: str) -> bool:
        for _ in range(_ATTEMPTS):
            try:
                stored = self.secrets.get(name)
            except NotFound:  # deleted meanwhile
                return False
            envelope = Envelope.read(stored, name)
            if envelope.kek_id == self.keks.current.id:
                return False
            renewed = envelope.rewrapped(self.keks, name, self.randomness)
            try:
                self.secrets.replace(name, renewed.encoded, old=stored)
            except Conflict:  # somebody else rewraps too
                continue
            return True
        raise Unavailable(f"the stored secret {name!r} changes faster than it is rewrapped")


OPTIONS = (
    cfg.StrOpt(
        "kek_file",
        help="File with the key-encryption keys: one base64 line of 32 bytes each, the current"
        " one first. It must belong to the user of the service and have mode 0600."
        " `tatu-manage keystore new-key FILE` makes it. Exactly one of the three kek_ options is"
        " set.",
    ),
    cfg.StrOpt("kek_env", help="Environment variable that holds the same lines."),
    cfg.StrOpt(
        "kek_credential",
        help="systemd credential (LoadCredential=) that holds the same lines.",
    ),
)


def _build(
    options: cfg.ConfigOpts.GroupAttr, *, secrets: Secrets, randomness: Randomness
) -> Local:
    return Local(secrets=secrets, keks=_keks(options), randomness=randomness)


def _keks(options: cfg.ConfigOpts.GroupAttr) -> Keks:
    match options.kek_file or None, options.kek_env or None, options.kek_credential or None:
        case str(file), None, None:
            return kek.from_file(Path(file))
        case None, str(variable), None:
            return kek.from_environment(variable)
        case None, None, str(credential):
            return kek.from_credential(credential)
    raise Malformed("[keystore_local] needs one of kek_file, kek_env and kek_credential")


driver = Driver(section="keystore_local", options=OPTIONS, build=_build)
