"""The short way to a login: what a valid certificate needs, with nothing to ask or to load.

Each module that is imported here delays every `tatu ssh`, and every ssh by our ssh_config.
"""

import fcntl
import json
import os
import time
from typing import NamedTuple, NoReturn

from tatu.core.errors import Malformed

_DUE_SECONDS = 300
_DUE_PART = 0.1
_TRUST_SECONDS = 3600
_NEW_HOST_SECONDS = 60
_NAME_MARKS = "._-"
_MAX_NAME = 63


class Ready(NamedTuple):
    """What was true when we last asked; times are seconds since 1970.

    `hosts` gives the host id for each name and address of the project's hosts, and `waiting` are
    the ids of those that are admitted and not yet enrolled. `asked_at` is when somebody last tried
    to ask, whatever came of it. `forwards` is whether the certificate lets an agent be forwarded,
    which it does where sudo asks one.
    """

    valid_after: int
    valid_before: int
    principals: list[str]
    hosts: dict[str, str]
    waiting: list[str]
    asked_at: int
    forwards: bool

    def certificate_is_due(self, now: float) -> bool:
        """Say whether the certificate ends in 5 minutes, or in a tenth of its life if shorter."""
        life = self.valid_before - self.valid_after
        return now > self.valid_before - min(_DUE_SECONDS, life * _DUE_PART)

    def trust_is_due(self, now: float, host: str | None = None) -> bool:
        """Say whether to ask for revocations and hosts again: hourly, or for a host not ready."""
        known = host is None or (host in self.hosts and not self.waits(host))
        return not 0 <= now - self.asked_at < (_TRUST_SECONDS if known else _NEW_HOST_SECONDS)

    def waits(self, host: str) -> bool:
        """Say whether a host is admitted and not yet enrolled: it has no certificate to show."""
        return self.hosts.get(host) in self.waiting

    def save(self, path: str) -> None:
        """Put the file in place as a whole."""
        beside = f"{path}.{os.getpid()}"
        with open(beside, "w", opener=_private) as file:
            json.dump(self._asdict(), file)
        os.replace(beside, path)  # noqa: PTH105 -- pathlib is one more module

    @classmethod
    def load(cls, path: str) -> "Ready | None":
        """Return what was saved, or None when it is missing or no use."""
        try:
            with open(path) as file:  # noqa: PTH123
                return cls(**json.load(file))
        except (OSError, ValueError, TypeError, RecursionError):
            return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def state_folder() -> str:
    """Return where tokens, keys and certificates are kept (XDG base directories)."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111
    return f"{home}/tatu"


def is_cloud_name(text: str) -> bool:
    """Say whether this may name a cloud, and a folder and a file of ssh's configuration too."""
    return (
        0 < len(text) <= _MAX_NAME
        and text[0].isalnum()
        and text.isascii()
        and all(char.isalnum() or char in _NAME_MARKS for char in text)
    )


def current_cloud() -> str | None:
    """Return the cloud to use when none is named: $TATU_CLOUD, or the last one signed in to."""
    name = os.environ.get("TATU_CLOUD")
    if not name:
        try:
            with open(f"{state_folder()}/current") as file:  # noqa: PTH123
                name = file.read().strip()
        except OSError:
            return None
    return name


def ssh_options(folder: str, *, known: bool = True) -> list[tuple[str, str]]:
    """Return the options for a login, as ssh_config words them; see `trust_options`."""
    key = f"{folder}/id_ed25519"
    if not os.path.exists(key):  # noqa: PTH110
        key += ".pub"  # the private half is in ssh-agent
    return [
        ("CertificateFile", quoted(f"{folder}/id_ed25519-cert.pub")),
        ("IdentityFile", quoted(key)),
        ("IdentitiesOnly", "yes"),
        *trust_options(folder, known=known),
    ]


def trust_options(folder: str, *, known: bool = True) -> list[tuple[str, str]]:
    """Return the options that say which hosts to believe.

    For a host that the cloud knows its own file alone counts: in the user's there may be another
    cloud's authority for the same name.
    """
    own = quoted(f"{folder}/known_hosts")
    others = "" if known else " ~/.ssh/known_hosts ~/.ssh/known_hosts2"
    options = [("UserKnownHostsFile", own + others)]
    # A missing file would make ssh refuse every host.
    if os.path.exists(krl := f"{folder}/revoked_host_keys"):  # noqa: PTH110
        options.append(("RevokedHostKeys", quoted(krl)))
    # A host could use a forwarded agent to sign in elsewhere as us (security.md S14).
    options.append(("ForwardAgent", "no"))
    return options


def where_to(hosts: dict[str, str], name: str) -> str | None:
    """Return a host's first address, for a name that only Tatu knows: one without a domain.

    Wherever it leads, the host there must show a certificate for the host's id.
    """
    host_id = hosts.get(name)
    if host_id is None or "." in name or ":" in name:
        return None
    mine = (text for text, found in hosts.items() if found == host_id)
    return next((text for text in mine if ":" in text or text.replace(".", "").isdigit()), None)


def quoted(path: str) -> str:
    """Return a path as ssh_config reads it; `State.of` refuses what cannot be quoted."""
    return f'"{path}"'


def ssh_command(folder: str, ready: Ready, target: str, arguments: list[str]) -> list[str]:
    """Return the ssh command for [user@]HOST; raises `Malformed` when it is not clear for whom."""
    user, at, host = target.rpartition("@")
    if not host or host.startswith("-") or (at and not user):
        raise Malformed(f"{target!r} is no [user@]host")
    if not at:
        if len(ready.principals) != 1:
            accounts = ", ".join(ready.principals)
            raise Malformed(f"which account on {host}? your certificate opens {accounts}")
        user = ready.principals[0]
    command = ["ssh"]
    host_id = ready.hosts.get(host.lower())
    for name, value in ssh_options(folder, known=host_id is not None):
        command += ["-o", f"{name}={value}"]
    if host_id is not None:
        command += ["-o", f"HostKeyAlias={host_id}"]
    # of two the first would count, and the user's own words come after these
    own = any("hostname" in word.lower() for word in arguments)
    if not own and (address := where_to(ready.hosts, host.lower())):
        command += ["-o", f"HostName={address}"]
    return [*command, "-l", user, host, *arguments]


class Login(NamedTuple):
    """How to log in by the state in a folder; `sudo_host` is the host whose sudo asks an agent."""

    command: list[str]
    folder: str
    sudo_host: str | None


def login(folder: str, ready: Ready, target: str, arguments: list[str]) -> Login:
    """Return how to log in to [user@]HOST; raises as `ssh_command` does."""
    command = ssh_command(folder, ready, target, arguments)
    known = ready.hosts.get(target.rpartition("@")[2].lower())
    # without the id that ssh holds the host to, nobody could say for which host a challenge is
    return Login(command, folder, known if ready.forwards else None)


def become_ssh(login: Login, *, confirm: bool = False) -> NoReturn:
    """Become ssh, which forwards the agent that sudo asks, if any, and never the user's."""
    environment = dict(os.environ)
    # Should the user say -A as well, it is still not their agent
    command = ["-o", "ForwardAgent=/dev/null", "-a"]
    if login.sudo_host is not None:
        from tatu.client import forwarding  # noqa: PLC0415 -- most authorities ask nothing

        folder, host = login.folder, login.sudo_host
        options = forwarding.options(folder, host, environment, confirm=confirm)
        command = [word for name, value in options for word in ("-o", f"{name}={value}")]
    program, *rest = login.command
    os.execvpe(program, [program, *command, *rest], environment)  # noqa: S606 -- no shell


def take_turn(cloud: str | None) -> bool:
    """Wait for whoever asks the server for this cloud already, then be the one; say if we waited.

    The turn ends with this process. Of fifty logins at once one loads the client, and the others
    find what it left.
    """
    name = cloud or current_cloud()
    if name is None or not is_cloud_name(name):
        return False
    try:
        turn = os.open(
            f"{state_folder()}/{name}/turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError:
        return False  # never signed in to: there is nobody to wait for
    fcntl.flock(turn, fcntl.LOCK_EX)
    return True


def short_way(cloud: str | None, target: str, arguments: list[str]) -> Login | None:
    """Return how to log in when nothing has to be refreshed first and nothing is wrong."""
    name = cloud or current_cloud()
    if name is None or not is_cloud_name(name):
        return None
    folder, now = f"{state_folder()}/{name}", time.time()
    ready = Ready.load(f"{folder}/ready.json")
    host = target.rpartition("@")[2].lower()
    if ready is None or ready.certificate_is_due(now) or ready.trust_is_due(now, host):
        return None
    if ready.waits(host):
        return None  # the long way says so
    try:
        return login(folder, ready, target, arguments)
    except Malformed:
        return None  # the long way says so


def nothing_is_due(cloud: str | None) -> bool:
    """Say whether ssh may go ahead with what is there."""
    name, now = cloud or current_cloud(), time.time()
    if name is None or not is_cloud_name(name):
        return False
    ready = Ready.load(f"{state_folder()}/{name}/ready.json")
    return ready is not None and not ready.certificate_is_due(now) and not ready.trust_is_due(now)
