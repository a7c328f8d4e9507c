"""The demonstration's parts: a Tatu on SQLite and an sshd as the instance, in one folder."""

import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = "demo"
ADMINISTRATOR = "admin"
SSHD = "/usr/sbin/sshd"

TATU_CONF = """\
[DEFAULT]
api_endpoint = {url}

[api]
bind_host = 127.0.0.1
bind_port = {port}

[database]
connection = sqlite:///{folder}/tatu.db

[state]
directory = {folder}/state

[keystore_local]
kek_file = {folder}/kek
"""

WATCH_CONF = """
[watch]
endpoint = http://127.0.0.1:{port}/watch
with_api = true
bind_port = {port}
"""

SSHD_CONFIG = """\
Include {folder}/etc/ssh/sshd_config.d/*.conf
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/etc/ssh/ssh_host_ed25519_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile none
# This account is not one that the agent manages, so it is told here whom to trust.
TrustedUserCAKeys {folder}/etc/ssh/tatu/user_authorities.pub
RevokedKeys {folder}/etc/ssh/tatu/revoked.krl
AuthorizedPrincipalsFile {folder}/etc/ssh/principals
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
LogLevel VERBOSE
"""


class Failed(Exception):
    """A step of the demonstration went wrong; the text says how."""


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when something listens; raises `Failed` with the log's end when it does not."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on port {port}; the end of {log.name}:\n{tail(log)}")


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A folder in which everything of one demonstration lives; a watch door, if it has a port."""

    folder: Path
    api_port: int
    watch_port: int | None = None

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def config(self) -> Path:
        """The server's configuration file."""
        return self.folder / "tatu.conf"

    @property
    def admin_key(self) -> Path:
        """The key with which the first administrator signs in."""
        return self.folder / "admin_key"

    def environment(self) -> Mapping[str, str]:
        """Return an environment that keeps the client's files in this folder."""
        return {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.defpath, "/usr/sbin")),
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
        }

    def run(self, *command: str, text: str = "", fails: bool = False) -> str:
        """Run a command; return what it printed. Raises `Failed` when it ends otherwise."""
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        if (done.returncode != 0) is not fails:
            shown = " ".join(command)
            raise Failed(f"{shown}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + (done.stderr if fails else "")

    def prepare(self) -> None:
        """Make keys, configuration and database, with a first project and administrator."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "home").mkdir(exist_ok=True)
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        if not self.admin_key.exists():
            make_key(self.admin_key, "the first administrator of the demonstration")
        self.config.write_text(
            TATU_CONF.format(url=self.url, port=self.api_port, folder=self.folder)
            + (WATCH_CONF.format(port=self.watch_port) if self.watch_port else "")
        )
        if not (self.folder / "kek").exists():
            self.manage("keystore", "new-key", str(self.folder / "kek"))
        self.manage("db", "sync")
        self.manage(
            "bootstrap",
            *("--admin", ADMINISTRATOR),
            *("--project", PROJECT),
            *("--key", str(self.admin_key.with_suffix(".pub"))),
        )

    def manage(self, *words: str) -> str:
        """Run `tatu-manage` with this configuration."""
        return self.run("tatu-manage", "--config-file", str(self.config), *words)

    @contextmanager
    def api(self) -> Iterator[None]:
        """Keep `tatu-api` running inside of the block."""
        with self._process("api", self.api_port, "tatu-api", "--config-file", str(self.config)):
            yield

    @contextmanager
    def sshd(self, port: int, principal: str) -> Iterator[None]:
        """Keep an sshd running that lets `principal` in as the user who runs this."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        ssh = self.folder / "etc/ssh"
        (ssh / "sshd_config.d").mkdir(parents=True, exist_ok=True)
        make_key(ssh / "ssh_host_ed25519_key", "instance")
        (ssh / "principals").write_text(principal + "\n")
        (ssh / "sshd_config").write_text(SSHD_CONFIG.format(folder=self.folder, port=port))
        with self._process("sshd", port, SSHD, "-D", "-e", "-f", str(ssh / "sshd_config")):
            yield

    @contextmanager
    def _process(self, name: str, port: int, *command: str) -> Iterator[None]:
        log = self.folder / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env=self.environment(), cwd=self.folder
            )
        try:
            wait_for_port(port, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_key(path: Path, comment: str) -> None:
    """Make an Ed25519 key pair without a passphrase."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True
    )


def account() -> str:
    """Return the account that runs this: the only one that an sshd of its own may open."""
    return getpass.getuser()
