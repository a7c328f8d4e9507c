"""What is remembered of a cloud between two commands: token, certificate, whom we trust."""

import json
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tatu.client import files
from tatu.client.sshagent import Agent
from tatu.core.certificate import Certificate
from tatu.core.errors import Malformed, NotFound, TatuError
from tatu.core.keys import PublicKey

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sign-in: the bearer token, and who we are by it."""

    token: str
    expires_at: datetime
    subject: str
    name: str
    project: str

    def __post_init__(self) -> None:
        """Refuse a token that no header can carry, by which a request could be split."""
        if not (self.token.isascii() and self.token.isprintable()):
            raise Malformed("the token is no plain text")

    def __repr__(self) -> str:
        """Show no token: a repr ends in logs."""
        return f"Session(name={self.name!r}, project={self.project!r})"

    def has_ended(self) -> bool:
        """Say whether the token's time is over, by our clock."""
        return self.expires_at <= datetime.now(UTC)

    def encode(self) -> str:
        """Return the file's text."""
        facts = {
            "token": self.token,
            "expires_at": self.expires_at.strftime(_TIME),
            "subject": self.subject,
            "name": self.name,
            "project": self.project,
        }
        return json.dumps(facts, indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the file; raises `Malformed`."""
        try:
            facts = json.loads(text)
            expires_at = datetime.strptime(facts["expires_at"], _TIME).replace(tzinfo=UTC)
            words = {name: facts[name] for name in ("token", "subject", "name", "project")}
            if not all(isinstance(word, str) for word in words.values()):
                raise TypeError("a word is no text")  # noqa: TRY301 -- damaged, like the others
            return cls(expires_at=expires_at, **words)
        except (ValueError, TypeError, KeyError, RecursionError, Malformed):
            raise Malformed("the saved sign-in is damaged: `tatu login` again") from None


@dataclass(frozen=True, kw_only=True)
class State:
    """The files of one cloud, in a folder that only we may enter."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Open the state, making its folder when it is new.

        Raises `Malformed` for a path that ssh_config cannot name.
        """
        if any(char in '"%\n\\' for char in str(folder)):
            raise Malformed(f"{str(folder)!r} cannot stand in ssh's configuration")
        files.private_folder(folder.parent)
        return cls(folder=files.private_folder(folder))

    @property
    def subject_key(self) -> Path:
        """The private subject key, when it is a file; its public half is beside it."""
        return self.folder / "id_ed25519"

    @property
    def public_key(self) -> Path:
        """The public subject key."""
        return self.folder / "id_ed25519.pub"

    @property
    def certificate(self) -> Path:
        """The user certificate."""
        return self.folder / "id_ed25519-cert.pub"

    @property
    def known_hosts(self) -> Path:
        """The host authorities that we trust, and for which names."""
        return self.folder / "known_hosts"

    @property
    def krl(self) -> Path:
        """What is revoked: ssh refuses host keys that stand here."""
        return self.folder / "revoked_host_keys"

    def trust(self, authority: str) -> Path:
        """Return the file of an authority's newest statement, whose keys are pinned."""
        return self.folder / f"trust-{quote(authority, safe='')}.json"

    def dns_suffix(self, authority: str) -> Path:
        """Return the file of an authority's DNS suffix, pinned until the next `tatu login`."""
        return self.folder / f"dns-suffix-{quote(authority, safe='')}"

    @property
    def ready(self) -> Path:
        """What `tatu ssh` needs to know when there is nothing to refresh."""
        return self.folder / "ready.json"

    @property
    def lock(self) -> Path:
        """Whose holder alone refreshes."""
        return self.folder / "lock"

    def session(self) -> Session | None:
        """Return the sign-in, ended or not; None after `logout` or before the first."""
        path = self.folder / "session.json"
        return Session.parse(files.read(path)) if path.exists() else None

    def keep_session(self, session: Session) -> None:
        """Remember a sign-in, for us alone to read."""
        files.write(self.folder / "session.json", session.encode())

    def held(self) -> tuple[PublicKey, Certificate] | None:
        """Return the subject key and its certificate, or None when they are not both there."""
        try:
            key = PublicKey.parse(files.read(self.public_key))
            certificate = Certificate.parse(files.read(self.certificate))
        except NotFound:
            return None
        except Malformed:
            return None  # damaged: as good as none, a new one replaces it
        return (key, certificate) if certificate.contents.subject_key == key else None

    def drop(self, serials: Collection[int]) -> None:
        """Have the certificate replaced before its next use when it is one of these."""
        if (held := self.held()) and held[1].contents.serial in serials:
            self.ready.unlink(missing_ok=True)

    def forget_key(self, agent: Agent) -> None:
        """Take the subject key that was held until now out of an agent, and its file away."""
        if held := self.held():
            with suppress(TatuError):  # it has ended by its lifetime, most often
                agent.remove(held[0])
        self.subject_key.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the sign-in, the subject key and the certificate; whom we trust stays pinned."""
        with suppress(TatuError):  # there may be no agent
            self.forget_key(Agent.of_environment())
        for path in (
            self.folder / "session.json",
            self.ready,
            self.subject_key,
            self.certificate,
            self.public_key,
        ):
            path.unlink(missing_ok=True)
