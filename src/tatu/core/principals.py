"""From roles to principals: an explicit, injective map (security.md S5).

A principal is the name of the account that it opens.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tatu.core import accounts, own
from tatu.core.identity import Role


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A role that opens no account, and why."""

    role: Role
    reason: str


@dataclass(frozen=True, kw_only=True)
class Principals:
    """What a set of roles opens.

    Each principal with the role that gives it, and what was left out.
    """

    given: Mapping[str, Role]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class RoleMap:
    """The operator's map from role names to accounts.

    A role that `accounts` does not name opens the account of its own name, unless another is
    mapped to it by name; those in `without_account` open none; those in `sudo` may become root.
    No role opens an account in `reserved`, besides those that systems have of their own.
    """

    accounts: Mapping[str, str] = field(default_factory=dict)
    without_account: frozenset[str] = frozenset(
        {"reader", "service", own.INVENTORY_ROLE, own.VENDORDATA_ROLE}
    )
    sudo: frozenset[str] = frozenset({"admin"})
    reserved: frozenset[str] = frozenset()

    def account(self, role_name: str) -> str:
        """Return the account that a role of this name would open."""
        return self.accounts.get(role_name, role_name)

    def of(self, roles: Iterable[Role]) -> Principals:
        """Return what the roles open; two roles that would share an account open neither."""
        held = sorted(set(roles))
        shared = Counter(
            self.account(role.name) for role in held if role.name not in self.without_account
        )
        given: dict[str, Role] = {}
        left_out: list[LeftOut] = []
        for role in held:
            account = self.account(role.name)
            reason = self._refusal(role, account, shared[account])
            if reason is None:
                given[account] = role
            else:
                left_out.append(LeftOut(role=role, reason=reason))
        return Principals(given=given, left_out=tuple(left_out))

    def _refusal(self, role: Role, account: str, holders: int) -> str | None:
        if role.name in self.without_account:
            return "this role opens no account"
        # Judged by the whole map, not only by the roles at hand: whoever holds one of two roles
        # that share an account would otherwise be the other's equal on the host.
        claims = sum(target == account for target in self.accounts.values())
        if claims > 1 or holders > 1 or (claims and role.name not in self.accounts):
            return f"another role is mapped to the account {account!r} too"
        if account in self.reserved:
            return f"{account!r} is reserved by the configuration"
        return accounts.refusal(account)
