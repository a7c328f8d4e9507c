"""Where everything is on a host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tatu.agent import files
from tatu.agent.errors import Malformed
from tatu.agent.keys import public_key

MAX_HOST_KEYS = 8

_MAX_PUBLIC_KEY = 16_384


@dataclass(frozen=True)
class Layout:
    """The paths and names that a host was set up with; sshd is told paths under `root` too.

    `group` holds the accounts that the agent manages; `reload_command` is empty for what this
    system calls for.
    """

    root: Path
    sshd_config: Path
    sshd: str
    group: str
    reload_command: str

    @property
    def ssh(self) -> Path:
        """OpenSSH's own folder."""
        return self.root / "etc/ssh"

    @property
    def drop_in(self) -> Path:
        """Our part of sshd's configuration: sorted first, since sshd takes the first of two."""
        return self.ssh / "sshd_config.d/00-tatu.conf"

    @property
    def ours(self) -> Path:
        """The folder of what the drop-in names."""
        return self.ssh / "tatu"

    @property
    def krl(self) -> Path:
        """The revocation list."""
        return self.ours / "revoked.krl"

    @property
    def user_authorities(self) -> Path:
        """The keys that sign user certificates."""
        return self.ours / "user_authorities.pub"

    @property
    def break_glass_authorities(self) -> Path:
        """The offline keys that sign certificates for the break-glass account."""
        return self.ours / "break_glass.pub"

    @property
    def notice(self) -> Path:
        """What those read who are refused while the newest statement is too old."""
        return self.ours / "notice"

    @property
    def principals(self) -> Path:
        """The folder with a file for each managed account."""
        return self.ssh / "auth_principals"

    @property
    def state(self) -> Path:
        """The agent's own folder."""
        return self.root / "var/lib/tatu-agent"

    @property
    def spool(self) -> Path:
        """What is still to be told to Tatu."""
        return self.state / "spool"

    @property
    def hooks(self) -> Path:
        """The folder of the programs that PAM runs."""
        return self.root / "usr/lib/tatu-agent"

    @property
    def pam(self) -> Path:
        """PAM's folder, with a file for each service."""
        return self.root / "etc/pam.d"

    @property
    def run(self) -> Path:
        """What is true until the next boot: sessions, and which of them had root."""
        return self.root / "run/tatu-agent"

    @property
    def good_drop_in(self) -> Path:
        """The newest drop-in that sshd answered with."""
        return self.state / "good.conf"

    @property
    def made(self) -> Path:
        """The record of what the agent made that is not a file of its own."""
        return self.state / "made.json"

    @property
    def sudoers(self) -> Path:
        """Who may become root, of the managed accounts."""
        return self.root / "etc/sudoers.d/tatu"

    @property
    def upgrades(self) -> Path:
        """What this host's operator says of upgrades: `on`, or nothing (S17)."""
        return self.root / "etc/tatu-agent/upgrades"

    @property
    def unattended(self) -> Path:
        """Which accounts may run what nobody is there for, as this host's operator says (S16)."""
        return self.root / "etc/tatu-agent/unattended"

    @property
    def user_manager(self) -> Path:
        """Our part of the unit that would let managed accounts run without a login."""
        return self.root / "etc/systemd/system/user@.service.d/50-tatu.conf"

    @property
    def systemd(self) -> Path:
        """What is there where systemd runs."""
        return self.root / "run/systemd/system"

    @property
    def logind(self) -> Path:
        """What logind keeps of each session, in a file by its name."""
        return self.root / "run/systemd/sessions"

    @property
    def selinux(self) -> Path:
        """What is there where SELinux is on."""
        return self.root / "sys/fs/selinux/enforce"

    def certificate(self, private_key: str) -> Path:
        """Return where the certificate of a host key is kept, by the name of the key's file."""
        return self.ours / f"{private_key}-cert.pub"

    def host_keys(self) -> dict[str, str]:
        """Return the public halves of the host keys by the names of their files.

        Raises `Malformed` for what is no public key.
        """
        found = sorted(path.with_suffix("") for path in self.ssh.glob("ssh_host_*_key.pub"))
        usable = [path for path in found if path.is_file() and path.name != "ssh_host_dsa_key"]
        return {path.name: _public_half(path) for path in usable}


def _public_half(private: Path) -> str:
    path = Path(f"{private}.pub")
    words = (files.read(path, _MAX_PUBLIC_KEY) or b"").decode("utf-8", "replace").split()
    try:
        return public_key(" ".join(words[:2]))
    except Malformed as error:
        raise Malformed(f"{path}: {error}") from error
