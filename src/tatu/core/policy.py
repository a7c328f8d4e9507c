"""What a caller may have: a pure function of an authority, an identity and a request."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from tatu.core import canonical
from tatu.core.authority import BACKDATE, Authority
from tatu.core.errors import Denied, Malformed
from tatu.core.identity import Identity
from tatu.core.keys import PublicKey
from tatu.core.principals import LeftOut, RoleMap

MAX_KEY_ID_NAME = 128
MAX_FORCE_COMMAND = 4096
MAX_SOURCE_ADDRESSES = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the caller asked for; what is None is left to the profile.

    Asked-for principals may only narrow what the roles give; an empty set is refused, not
    read as "all".
    """

    subject_key: PublicKey
    principals: frozenset[str] | None = None
    validity: timedelta | None = None
    force_command: str | None = None
    source_addresses: tuple[str, ...] | None = None

    def proof_message(self, *, deployment: str, authority: str, subject: str) -> bytes:
        """Return what the subject key must sign in namespace `subject@tatu` (security.md S6).

        It binds the key to this caller, this authority and every limit asked for, so that a proof
        made for one request says nothing about another.
        """
        facts = {
            "authority": authority,
            "deployment": deployment,
            "force_command": self.force_command,
            "principals": None if self.principals is None else sorted(self.principals),
            "source_addresses": None
            if self.source_addresses is None
            else list(self.source_addresses),
            "subject": subject,
            "subject_key": self.subject_key.line,
            "validity": None if self.validity is None else int(self.validity.total_seconds()),
        }
        return canonical.data(facts)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What the caller is given: the decision, before any key is used."""

    subject_key: PublicKey
    name: str
    principals: tuple[str, ...]
    roles: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    valid_after: datetime
    valid_before: datetime
    critical_options: dict[str, str]
    extensions: dict[str, str]

    def key_id(self, serial: int) -> str:
        """Return `<user name>_<serial>`, which is what sshd logs."""
        return f"{self.name}_{serial}"


def key_id_name(name: str) -> str:
    """Return a user's name as a key ID may carry it: printable ASCII, no blanks, bounded.

    sshd writes key IDs into log lines that others parse; a name with ` (serial 1) CA` in it
    would speak for another certificate.
    """
    return re.sub(r"[^!-~]|[()\"'\\]", "_", name)[:MAX_KEY_ID_NAME] or "_"


def decide(
    authority: Authority, identity: Identity, wanted: Wanted, role_map: RoleMap, now: datetime
) -> Grant:
    """Grant the caller a user certificate.

    `now` is in whole seconds. Raises `Denied` when the caller may not have one, `Malformed` when
    the request cannot be meant.
    """
    if identity.project != authority.id:
        raise Denied("the token is not scoped to this authority's project")
    allowed = role_map.of(identity.roles)
    if not allowed.given:
        reasons = "; ".join(f"{out.role.name}: {out.reason}" for out in allowed.left_out)
        raise Denied(f"no role here opens an account ({reasons or 'no roles in this project'})")
    principals = frozenset(allowed.given)
    if wanted.principals is not None:
        if not wanted.principals:
            raise Malformed("an empty list of principals asks for nothing; leave it out for all")
        if beyond := wanted.principals - principals:
            raise Denied(f"no role here gives {', '.join(map(repr, sorted(beyond)))}")
        principals = wanted.principals
    return Grant(
        subject_key=wanted.subject_key,
        name=key_id_name(identity.name),
        principals=tuple(sorted(principals)),
        roles=tuple(sorted(allowed.given[principal].id for principal in principals)),
        left_out=allowed.left_out,
        valid_after=now - BACKDATE,
        valid_before=_valid_before(authority, identity, wanted, now),
        critical_options=_critical_options(authority, wanted),
        extensions=_extensions(authority),
    )


def _valid_before(
    authority: Authority, identity: Identity, wanted: Wanted, now: datetime
) -> datetime:
    until = now + _validity(authority, wanted)
    if identity.ends_by is None:
        return until
    end = identity.ends_by.replace(microsecond=0)
    if end <= now:
        raise Denied("what the token was got by ends now")
    return min(until, end)


def _validity(authority: Authority, wanted: Wanted) -> timedelta:
    profile = authority.profile
    validity = profile.user_validity if wanted.validity is None else wanted.validity
    if validity < timedelta(seconds=1) or validity % timedelta(seconds=1):
        raise Malformed("a validity is a positive number of seconds")
    if validity > profile.max_user_validity:
        raise Denied(
            f"the validity may be at most {int(profile.max_user_validity.total_seconds())} seconds"
        )
    return validity


def _critical_options(authority: Authority, wanted: Wanted) -> dict[str, str]:
    options = {}
    if wanted.force_command is not None:
        if not wanted.force_command.strip() or not wanted.force_command.isprintable():
            raise Malformed("a force-command is one printable line")
        if len(wanted.force_command) > MAX_FORCE_COMMAND:
            raise Malformed(f"a force-command has at most {MAX_FORCE_COMMAND} characters")
        options["force-command"] = wanted.force_command
    if addresses := _source_addresses(authority.profile.source_addresses, wanted.source_addresses):
        options["source-address"] = ",".join(addresses)
    return options


def _source_addresses(limits: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is None:
        return limits
    if not wanted:
        raise Malformed("an empty list of source addresses would let nobody in; leave it out")
    if len(wanted) > MAX_SOURCE_ADDRESSES:
        raise Malformed(f"there may be at most {MAX_SOURCE_ADDRESSES} source addresses")
    allowed = [ipaddress.ip_network(limit) for limit in limits]
    networks = []
    for text in wanted:
        found = network(text)
        if allowed and not any(
            found.version == limit.version and found.subnet_of(limit)  # type: ignore[arg-type]
            for limit in allowed
        ):
            raise Denied(f"source address {text!r} is outside of what this authority allows")
        networks.append(str(found))
    return tuple(networks)


def network(text: str) -> Network:
    """Parse an address or CIDR network without host bits, as sshd does; raises `Malformed`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise Malformed(f"no address or CIDR network: {error}") from error


def _extensions(authority: Authority) -> dict[str, str]:
    given = set(authority.profile.extensions) - {"permit-agent-forwarding"}
    if authority.profile.pam_sudo:
        # Only where sudo asks the agent for a proof is there a reason to forward one (S14).
        given.add("permit-agent-forwarding")
    return dict.fromkeys(sorted(given), "")
