"""What a certificate must not say: read off the very bytes that are or were signed.

Each rule is one that OpenSSH itself does not hold, or holds in some versions only, or holds by
refusing the login when it is too late (docs/threat-model.md names the attacks).
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from tatu.core import host
from tatu.core.authority import BACKDATE
from tatu.core.certificate import (
    FOREVER,
    Certificate,
    CertificateToSign,
    CertificateType,
    Options,
)
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey, shown

MAX_PRINCIPALS = 256  # sshd refuses a certificate with more
MAX_KEY_ID = 256
_MIN_NONCE = 16

_CRITICAL_OPTIONS = frozenset({"force-command", "source-address", "verify-required"})
_EXTENSIONS = frozenset(
    {
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    }
)
_CIDR = re.compile(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What differs between deployments: how long certificates last, and which names are nobody's.

    The validities count from now, as profiles do: the backdate is allowed on top of them.
    """

    max_user_validity: timedelta
    max_host_validity: timedelta
    reserved: frozenset[str]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a stable code for programs, and a sentence for people."""

    code: str
    text: str

    def __str__(self) -> str:
        """Return both on one line."""
        return f"{self.code}: {self.text}"


def check(certificate: CertificateToSign | Certificate, limits: Limits) -> None:
    """Make sure that nothing is wrong; raises Malformed, which lists all that is."""
    found = findings(certificate, limits)
    if found:
        raise Malformed("the certificate is refused: " + "; ".join(map(str, found)))


def findings(certificate: CertificateToSign | Certificate, limits: Limits) -> tuple[Finding, ...]:
    """Return all that is wrong with a certificate, signed or not, ours or anybody's."""
    if isinstance(certificate, Certificate):
        contents = certificate.contents
        signature = tuple(_signature(certificate))
    else:
        contents, signature = certificate, ()
    return (
        *_keys(contents),
        *_names(contents),
        *_principals(contents, limits),
        *_validity(contents, limits),
        *_options(contents),
        *signature,
    )


def _signature(certificate: Certificate) -> Iterator[Finding]:
    key, algorithm = certificate.contents.signature_key.algorithm, certificate.signature_algorithm
    # ssh-rsa signs a SHA-1 digest, for which collisions are bought.
    allowed = ("rsa-sha2-512", "rsa-sha2-256") if key == "ssh-rsa" else (key,)
    if algorithm not in allowed:
        yield Finding(
            "signature-algorithm",
            f"the signature is {shown(algorithm)}, not {' or '.join(map(shown, allowed))}",
        )


def _keys(contents: CertificateToSign) -> Iterator[Finding]:
    subject, signer = contents.subject_key, contents.signature_key
    yield from _key("subject-key", "the subject key", subject)
    yield from _key("signature-key", "the signature key", signer)
    if subject.blob == signer.blob:
        yield Finding("key-certifies-itself", "the subject key is the signature key")


def _key(code: str, name: str, key: PublicKey) -> Iterator[Finding]:
    try:
        key.check()
    except Malformed as error:
        yield Finding(code, f"{name} is refused: {error}")


def _names(contents: CertificateToSign) -> Iterator[Finding]:
    if contents.serial == 0:
        yield Finding("no-serial", "serial 0 means none: it could not be revoked by serial")
    if not contents.key_id.strip():
        yield Finding("empty-key-id", "the key ID is empty or blank: logs would name nobody")
    if not contents.key_id.isprintable():
        yield Finding("control-character-in-key-id", "the key ID could forge lines of a log")
    if len(contents.key_id) > MAX_KEY_ID:
        yield Finding("long-key-id", f"the key ID is longer than {MAX_KEY_ID} characters")
    if len(contents.nonce) < _MIN_NONCE:
        yield Finding("short-nonce", f"the nonce is shorter than {_MIN_NONCE} bytes")


def _principals(contents: CertificateToSign, limits: Limits) -> Iterator[Finding]:
    principals = contents.principals
    if not principals:
        yield Finding("no-principals", "some versions of OpenSSH read no principals as any")
    if len(principals) > MAX_PRINCIPALS:
        yield Finding("too-many-principals", f"sshd refuses more than {MAX_PRINCIPALS} principals")
    for principal, times in Counter(principals).items():
        if times > 1:
            yield Finding("duplicate-principal", f"principal {shown(principal)} stands twice")
        yield from _principal(principal)
        if contents.type is CertificateType.HOST:
            if not _is_host(principal):
                yield Finding(
                    "host-name", f"principal {shown(principal)} is no host name, address or id"
                )
        elif principal in limits.reserved:
            yield Finding("reserved-principal", f"principal {shown(principal)} is reserved")


def _principal(principal: str) -> Iterator[Finding]:
    if not principal:
        yield Finding("empty-principal", "a principal is empty")
    elif any(char.isspace() for char in principal):
        yield Finding("blank-principal", f"principal {shown(principal)} holds blanks")
    if not principal.isprintable():
        yield Finding(
            "control-character-in-principal", f"principal {shown(principal)} holds controls"
        )
    if "," in principal:
        # CVE-2026-35414: where principals are joined by commas, one becomes several.
        yield Finding("comma-in-principal", f"principal {shown(principal)} holds a comma")
    if set(principal) & set("*?!"):
        yield Finding("wildcard-principal", f"principal {shown(principal)} is a pattern")


def _is_host(principal: str) -> bool:
    """Whether this is a host name, address or host id, in the one form that ssh compares."""

    def same(parse: Callable[[str], str]) -> bool:
        try:
            return parse(principal) == principal
        except Malformed:
            return False

    return same(host.name) or same(host.address) or same(host.host_id)


def _validity(contents: CertificateToSign, limits: Limits) -> Iterator[Finding]:
    after, before = contents.valid_after, contents.valid_before
    if contents.type is CertificateType.USER:
        limit = limits.max_user_validity
    else:
        limit = limits.max_host_validity
    if before == FOREVER:
        yield Finding("no-end", "the certificate never expires")
    elif before <= after:
        yield Finding("inverted-validity", "the certificate ends before it begins")
    elif before - after > limit + BACKDATE:
        yield Finding("long-validity", f"the certificate is valid for longer than {limit}")
    if after.timestamp() == 0:
        yield Finding("no-beginning", "the certificate has been valid for ever")


def _options(contents: CertificateToSign) -> Iterator[Finding]:
    critical, extensions = Options.of(contents.critical_options), Options.of(contents.extensions)
    yield from _order("critical options", critical)
    yield from _order("extensions", extensions)
    if contents.type is CertificateType.HOST:
        if critical or extensions:
            yield Finding("host-options", "a host certificate has no options and no extensions")
        return
    for name, data in critical.pairs:
        yield from _critical_option(name, data)
    for name, data in extensions.pairs:
        yield from _extension(name, data)


def _order(which: str, options: Options) -> Iterator[Finding]:
    names = [name.encode() for name, _ in options.pairs]
    if len(set(names)) < len(names):
        yield Finding("duplicate-option", f"one of the {which} stands twice")
    if names != sorted(names):
        yield Finding("unordered-options", f"the {which} are not in lexical order")


def _critical_option(name: str, data: bytes) -> Iterator[Finding]:
    value = Options(((name, data),))[name]
    match name:
        case "force-command" if not value.strip():
            yield Finding("empty-force-command", "force-command names no command")
        case "source-address" if not _is_address_list(value):
            yield Finding("source-address", f"{shown(value)} is no list of addresses or networks")
        case "verify-required" if data:
            yield Finding("option-value", "verify-required takes no value")
        case _ if name in _EXTENSIONS:
            yield Finding("extension-as-option", f"{name} is an extension: sshd would refuse")
        case _ if name not in _CRITICAL_OPTIONS:
            yield Finding("unknown-option", f"critical option {shown(name)} is not known")


def _extension(name: str, data: bytes) -> Iterator[Finding]:
    if name == "no-touch-required":
        yield Finding("no-touch-required", "the security key must ask for a touch")
    elif name in _CRITICAL_OPTIONS:
        # sshd ignores it here: whoever was to be held by it is not.
        yield Finding("option-as-extension", f"{name} limits nothing as an extension")
    elif name not in _EXTENSIONS:
        yield Finding("unknown-extension", f"extension {shown(name)} is not known")
    elif data:
        yield Finding("extension-value", f"extension {name} takes no value")


def _is_address_list(value: str) -> bool:
    """Whether sshd would take this: addresses and networks without host bits, by commas."""
    try:
        for entry in value.split(","):
            if not _CIDR.fullmatch(entry):
                return False
            ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
