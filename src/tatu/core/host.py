"""Hosts: their names, and which of them a host certificate may carry (security.md S8)."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime

from tatu.core.errors import Denied, Malformed

LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
MAX_NAME = 253
"""Characters of a full name (RFC 1035, section 2.3.4, as text)."""

HOST_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Lower case only: ssh compares names without case, the ledger compares bytes."""

_INSTANCE_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine with sshd, as the ledger knows it.

    `epoch` counts admissions: each gives another enrolment secret. `host_keys` are the public keys
    (lines) that redeemed the token of this epoch; empty until then. A token may be redeemed until
    `admitted_until`.

    Of an `instance` the id is the cloud's, and the cloud's inventory says what it is called and
    whether it is there. A `legacy` host enrolled over the original's wire, which sends the
    secret. `renewal_due_at` is since when its certificate names less, or more, than it should.
    """

    id: str
    authority: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    epoch: int
    admitted_until: datetime
    created_at: datetime
    host_keys: tuple[str, ...] = ()
    enrolled_at: datetime | None = None
    deleted_at: datetime | None = None
    refused_at: datetime | None = None
    instance: bool = False
    legacy: bool = False
    admitted_at: datetime | None = None
    renewal_due_at: datetime | None = None

    @property
    def principals(self) -> tuple[str, ...]:
        """What its certificate names: id, names, addresses, each once."""
        return tuple(dict.fromkeys((self.id, *self.names, *self.addresses)))


def host_id(text: str) -> str:
    """Parse a host's id (a cloud's instance id, or what the operator calls it).

    Raises `Malformed`.
    """
    if not HOST_ID.fullmatch(text):
        raise Malformed(
            f"{text!r} is no host id (lower-case letters, digits and hyphens, at most 63)"
        )
    if text.isdigit():
        raise Malformed(f"{text!r} would be read as an address")
    return text


def name(text: str) -> str:
    """Parse a host name.

    Lower-case RFC 1123 labels, at most 253 characters; raises `Malformed`.
    """
    lowered = text.lower()
    labels = lowered.split(".")
    # some letters beyond ASCII have lower forms within it (the Kelvin sign is a k)
    plain = text.isascii() and all(LABEL.fullmatch(label) for label in labels)
    if len(lowered) > MAX_NAME or not plain:
        raise Malformed(f"{text!r} is no host name")
    if labels[-1].isdigit():
        raise Malformed(f"{text!r} would be read as an address")
    return lowered


def address(text: str) -> str:
    """Parse an IPv4 or IPv6 address into its canonical form; raises `Malformed`."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError as error:
        raise Malformed(f"{text!r} is no address") from error
    mapped = parsed.version == 6 and parsed.ipv4_mapped  # noqa: PLR2004
    if parsed.is_unspecified or parsed.is_multicast or mapped or "%" in text:
        raise Malformed(f"{text!r} is no address of a host")
    return str(parsed)


def names_within(names: tuple[str, ...], suffix: str, *, of: str) -> tuple[str, ...]:
    """Return the names, each as its short form and inside the authority's DNS suffix.

    A name that reads as a cloud's id is `Denied` to any host but the one `of` that id: it would
    be taken for the instance.

    `db` in an authority of suffix `blue.example` gives `db` and `db.blue.example`; a full name
    outside of the suffix is `Denied`: a host named `github.com` would speak for somebody
    else. Without a suffix only single labels pass.
    """
    found: dict[str, None] = {}
    for text in names:
        parsed = name(text)
        short = parsed.removesuffix(f".{suffix}") if suffix else parsed
        if "." in short or parsed == suffix:
            where = (
                f"outside of {suffix!r}"
                if suffix
                else "dotted, and the authority has no DNS suffix"
            )
            raise Denied(f"host name {text!r} is {where}")
        if short != of and _INSTANCE_ID.fullmatch(short):
            raise Denied(f"host name {text!r} reads as the id of an instance")
        found[short] = None
        if suffix:
            found[name(f"{short}.{suffix}")] = None
    return tuple(found)
