"""Tatu's API, typed: one method for each thing that the commands ask of it (docs/protocol.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from keystoneauth1.adapter import Adapter

from tatu.client import http, resources
from tatu.core.errors import Malformed
from tatu.core.policy import Wanted


def _path(*parts: str | int) -> str:
    """Return a path of these parts under /v2, each quoted as a whole."""
    return "/".join(("/v2", *(quote(str(part), safe="") for part in parts)))


@dataclass(frozen=True, kw_only=True)
class Api:
    """What a caller can ask; every method raises as `http.request` does.

    `adapter` signs in by its auth plugin: `tatu_key`, or any other that the deployment takes.
    """

    adapter: Adapter

    def deployment(self) -> resources.Deployment:
        """Return what the deployment says of itself; needs no token."""
        return http.ask(self.adapter, "GET", "/v2", resources.Deployment, authenticated=False)

    def whoami(self) -> resources.Whoami:
        """Return the caller."""
        return http.ask(self.adapter, "GET", _path("whoami"), resources.Whoami)

    def end_token(self) -> None:
        """End the token that this very request carries."""
        http.request(self.adapter, "DELETE", _path("tokens", "current"))

    # --- authorities -----------------------------------------------------------------------

    def authorities(self) -> list[resources.Authority]:
        """Return the authorities that the caller may see."""
        return http.pages(self.adapter, _path("authorities"), resources.Authority, {})

    def authority(self, authority: str) -> resources.Authority:
        """Return one authority."""
        return http.ask(self.adapter, "GET", _path("authorities", authority), resources.Authority)

    def create_authority(self, project: str | None) -> resources.Authority:
        """Make the authority of a project, the caller's own if none is named."""
        body = {} if project is None else {"project": project}
        return http.ask(self.adapter, "POST", _path("authorities"), resources.Authority, body=body)

    def change_authority(
        self, authority: str, changes: Mapping[str, object]
    ) -> resources.Authority:
        """Change the limits of an authority that are named."""
        path, body = _path("authorities", authority), {"profile": dict(changes)}
        return http.ask(self.adapter, "PATCH", path, resources.Authority, body=body)

    def public_keys(self, authority: str) -> resources.PublicKeys:
        """Return an authority's public keys; needs no token."""
        path = _path("authorities", authority, "public-keys")
        return http.ask(self.adapter, "GET", path, resources.PublicKeys, authenticated=False)

    def statement(self, authority: str) -> resources.Statement:
        """Return the newest statement, not yet verified; needs no token."""
        path = _path("authorities", authority, "statement")
        return http.ask(self.adapter, "GET", path, resources.Statement, authenticated=False)

    def krl(self, authority: str, version: int) -> bytes:
        """Return a KRL, not yet compared with its statement; needs no token."""
        path = _path("authorities", authority, "krl", version)
        return http.request(self.adapter, "GET", path, authenticated=False).content

    # --- certificates ----------------------------------------------------------------------

    def create_user_certificate(
        self, authority: str, wanted: Wanted, proof: str
    ) -> resources.Certificate:
        """Ask for a user certificate; `proof` is the armored SSHSIG of the subject key."""
        body: dict[str, object] = {"public_key": wanted.subject_key.line, "proof": proof}
        if wanted.principals is not None:
            body["principals"] = sorted(wanted.principals)
        if wanted.validity is not None:
            body["validity"] = int(wanted.validity.total_seconds())
        if wanted.force_command is not None:
            body["force_command"] = wanted.force_command
        if wanted.source_addresses is not None:
            body["source_addresses"] = list(wanted.source_addresses)
        path = _path("authorities", authority, "user-certificates")
        return http.ask(self.adapter, "POST", path, resources.Certificate, body=body)

    def certificates(self, kind: str, filters: Mapping[str, str]) -> list[resources.Certificate]:
        """Return the user or host certificates that match and that the caller may see."""
        path = _path(f"{kind}-certificates")
        return http.pages(self.adapter, path, resources.Certificate, dict(filters))

    def certificate(self, kind: str, authority: str, serial: int) -> resources.Certificate:
        """Return one user or host certificate."""
        path = _path("authorities", authority, f"{kind}-certificates", serial)
        return http.ask(self.adapter, "GET", path, resources.Certificate)

    def revoke(
        self, authority: str, selector: Mapping[str, object], reason: str, *, block: bool | None
    ) -> resources.Revoked:
        """Revoke what the selector names; with `block` it gets no new certificate either.

        None leaves that to the server: it blocks what the caller may block.
        """
        body = {**selector, "reason": reason, **({} if block is None else {"block": block})}
        path = _path("authorities", authority, "revocations")
        return http.ask(self.adapter, "POST", path, resources.Revoked, body=body)

    def blocks(self, authority: str) -> list[resources.Block]:
        """Return who and what gets no new certificate."""
        return http.pages(
            self.adapter, _path("authorities", authority, "blocks"), resources.Block, {}
        )

    def clear_block(self, authority: str, block: int) -> None:
        """Lift a block; certificates stay revoked."""
        http.request(self.adapter, "DELETE", _path("authorities", authority, "blocks", block))

    # --- hosts -----------------------------------------------------------------------------

    def hosts(self, authority: str | None = None) -> list[resources.Host]:
        """Return the hosts of an authority, or all that the caller may see."""
        query = {} if authority is None else {"authority": authority}
        return http.pages(self.adapter, _path("hosts"), resources.Host, query)

    def host(self, authority: str, host: str) -> resources.Host:
        """Return one host."""
        path = _path("authorities", authority, "hosts", host)
        return http.ask(self.adapter, "GET", path, resources.Host)

    def delete_host(self, authority: str, host: str) -> None:
        """End a host: its certificates are revoked and its names free."""
        http.request(self.adapter, "DELETE", _path("authorities", authority, "hosts", host))

    def receipts(self, authority: str, at_least: int, *, limit: int = 1) -> resources.Receipts:
        """Return how many hosts have shown to obey a KRL, and the first that have not."""
        path = _path("authorities", authority, "receipts")
        query = {"at_least": str(at_least), "limit": str(limit)}
        return http.ask(self.adapter, "GET", path, resources.Receipts, query=query)

    def sessions(self, authority: str, host: str) -> list[resources.Session]:
        """Return the sessions that a host reported last."""
        path = _path("authorities", authority, "hosts", host, "sessions")
        return http.pages(self.adapter, path, resources.Session, {})

    def logins(self, filters: Mapping[str, str]) -> list[resources.Login]:
        """Return the logins that match and that the caller may see, the latest of them."""
        return http.page(self.adapter, _path("logins"), resources.Login, dict(filters))

    def create_enrolment_token(
        self, authority: str, facts: Mapping[str, object]
    ) -> resources.EnrolmentToken:
        """Admit a host and return its enrolment token."""
        path = _path("authorities", authority, "enrolment-tokens")
        return http.ask(self.adapter, "POST", path, resources.EnrolmentToken, body=dict(facts))

    def enrol(self, redemption: Mapping[str, object]) -> resources.Enrolled:
        """Redeem an enrolment token; needs no token of ours."""
        path = _path("enrolments")
        return http.ask(
            self.adapter,
            "POST",
            path,
            resources.Enrolled,
            body=dict(redemption),
            authenticated=False,
        )

    # --- the embedded directory: changes need a token of purpose `administer` ----------------

    def entries(self, kind: str) -> list[resources.DirectoryEntry]:
        """Return all projects, users or groups."""
        return http.pages(self.adapter, _path(kind), resources.DirectoryEntry, {})

    def entry(self, kind: str, id_or_name: str) -> resources.DirectoryEntry:
        """Return a project, user or group.

        A name may have characters that no path takes: then the list is searched.
        """
        try:
            return http.ask(self.adapter, "GET", _path(kind, id_or_name), resources.DirectoryEntry)
        except Malformed:
            for found in self.entries(kind):
                if found.name == id_or_name:
                    return found
            raise

    def create_entry(
        self, kind: str, name: str, identifier: str | None
    ) -> resources.DirectoryEntry:
        """Add a project, user or group."""
        body = {"name": name, **({} if identifier is None else {"id": identifier})}
        return http.ask(self.adapter, "POST", _path(kind), resources.DirectoryEntry, body=body)

    def enable_entry(
        self, kind: str, identifier: str, *, enabled: bool
    ) -> resources.DirectoryEntry:
        """Enable or disable a project or user."""
        path, body = _path(kind, identifier), {"enabled": enabled}
        return http.ask(self.adapter, "PATCH", path, resources.DirectoryEntry, body=body)

    def delete_entry(self, kind: str, identifier: str) -> None:
        """Delete a project, user, group or role."""
        http.request(self.adapter, "DELETE", _path(kind, identifier))

    def user_keys(self, user: str) -> list[resources.UserKey]:
        """Return the keys that a user signs in with."""
        return http.pages(self.adapter, _path("users", user, "keys"), resources.UserKey, {})

    def add_user_key(self, user: str, public_key: str) -> resources.UserKey:
        """Let a user sign in with a key."""
        path, body = _path("users", user, "keys"), {"public_key": public_key}
        return http.ask(self.adapter, "POST", path, resources.UserKey, body=body)

    def remove_user_key(self, user: str, fingerprint: str) -> None:
        """Take a key away."""
        http.request(self.adapter, "DELETE", _path("users", user, "keys", fingerprint))

    def members(self, group: str) -> list[resources.DirectoryEntry]:
        """Return the users of a group."""
        return http.pages(
            self.adapter, _path("groups", group, "members"), resources.DirectoryEntry, {}
        )

    def set_member(self, group: str, user: str, *, member: bool) -> None:
        """Put a user into a group, or take them out."""
        method = "PUT" if member else "DELETE"
        http.request(self.adapter, method, _path("groups", group, "members", user))

    def roles(self) -> list[resources.Role]:
        """Return all roles."""
        return http.pages(self.adapter, _path("roles"), resources.Role, {})

    def role(self, id_or_name: str) -> resources.Role:
        """Return a role."""
        return http.ask(self.adapter, "GET", _path("roles", id_or_name), resources.Role)

    def create_role(self, name: str, identifier: str | None) -> resources.Role:
        """Add a role."""
        body = {"name": name, **({} if identifier is None else {"id": identifier})}
        return http.ask(self.adapter, "POST", _path("roles"), resources.Role, body=body)

    def assignments(self, filters: Mapping[str, str]) -> list[resources.Assignment]:
        """Return the direct assignments that match."""
        path = _path("assignments")
        return http.pages(self.adapter, path, resources.Assignment, dict(filters))

    def assign(self, assignment: Mapping[str, str]) -> None:
        """Give a role in a project to a user or a group."""
        http.request(self.adapter, "POST", _path("assignments"), body=dict(assignment))

    def unassign(self, assignment: Mapping[str, str]) -> None:
        """Take it away."""
        http.request(self.adapter, "POST", _path("assignments", "removals"), body=dict(assignment))
