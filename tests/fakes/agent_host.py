"""A host in a folder: OpenSSH's files with real keys, and the agent to be run on it."""

import grp
import os
import pwd
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from tatu.agent import main

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(pwd.getpwuid(os.getuid()).pw_gid).gr_name


def make_keys(folder: Path) -> Path:
    """Make host keys of two types; slow enough to be done once and copied."""
    for kind in ("ed25519", "ecdsa"):
        name = folder / f"ssh_host_{kind}_key"
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@db-1", "-f", name]
        subprocess.run(command, check=True)
    return folder


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Have the agent's commands take this for now."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return moment

    monkeypatch.setattr(main, "datetime", Clock)


PAM = {
    "sshd": "account required pam_unix.so\n@include common-session\n",
    "sudo": "@include common-auth\n",
    "cron": "account required pam_unix.so\n",
}


class AgentHost:
    """A host whose sshd is the real one, but for `reloads`, a file with a line for each reload."""

    def __init__(self, root: Path, keys: Path):
        self.root = root
        self.ssh = root / "etc/ssh"
        shutil.copytree(keys, self.ssh)
        (self.ssh / "sshd_config.d").mkdir()
        (root / "etc/machine-id").write_text("4f6b1e0c\n")
        (root / "etc/pam.d").mkdir()
        for service, lines in PAM.items():
            (root / "etc/pam.d" / service).write_text(lines)
        self.config = self.ssh / "sshd_config"
        self.config.write_text(
            f"Include {self.ssh}/sshd_config.d/*.conf\nStrictModes no\nUsePAM no\n"
            + "".join(f"HostKey {key}\n" for key in sorted(self.ssh.glob("ssh_host_*_key")))
        )
        self.drop_in = self.ssh / "sshd_config.d/00-tatu.conf"
        self.krl = self.ssh / "tatu/revoked.krl"
        self.state = root / "var/lib/tatu-agent"
        self.principals = self.ssh / "auth_principals"
        self.reloads = root / "reloads"
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd -t and -T insist on it

    def arguments(self, command: str, *options: str) -> list[str]:
        reload_command = f"sh -c 'echo reload >> {self.reloads}'"
        common = ["--root", str(self.root), "--group", GROUP, "--reload-command", reload_command]
        return [command, *common, *options]

    def enrol(self, token: str, *options: str) -> int:
        file = self.root / "token"
        file.write_text(token + "\n")
        return main.main(self.arguments("enrol", "--token-file", str(file), *options))

    def sync(self, *options: str) -> int:
        return main.main(self.arguments("sync", *options))

    @property
    def reload_count(self) -> int:
        return len(self.reloads.read_text().splitlines()) if self.reloads.exists() else 0

    def revokes(self, version: int) -> bool:
        """Say whether sshd would read the list of this version."""
        return int.from_bytes(self.krl.read_bytes()[12:20], "big") == version

    def check(self) -> None:
        """Fail unless sshd and PAM can read what stands, and find what it names."""
        for service, before in PAM.items():
            text = (self.root / "etc/pam.d" / service).read_text()
            assert text.endswith(before), f"{service} has lost lines"
            block = text[: -len(before)].splitlines()
            assert not block or ("Begin" in block[0] and "End" in block[-1]), block
            hooks = {word for line in block for word in line.split() if "/tatu-agent/" in word}
            assert all(Path(hook).exists() for hook in hooks if "/lib/" in hook), hooks
        self.check_sshd()

    def check_sshd(self) -> None:
        """Fail unless sshd starts with the configuration as it stands, and finds what it names."""
        subprocess.run(["/usr/sbin/sshd", "-t", "-f", self.config], check=True)
        if not self.drop_in.exists():
            return
        subprocess.run(["ssh-keygen", "-Q", "-l", "-f", self.krl], check=True, capture_output=True)
        for line in self.drop_in.read_text().splitlines():
            words = line.split()
            if words and words[0] in ("HostCertificate", "TrustedUserCAKeys", "RevokedKeys"):
                # offline keys that are withdrawn go first: without them nobody gets in by one
                assert words[1].endswith("/break_glass.pub") or Path(words[1]).stat().st_size

    def picture(self) -> dict:
        """Return every file that the agent may touch."""
        roots = (self.ssh, self.state)
        files = [path for root in roots for path in root.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}
