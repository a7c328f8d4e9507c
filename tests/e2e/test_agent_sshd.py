"""A host that the agent keeps, and real ssh logins to it."""

import os
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from tatu.agent import main
from tatu.agent import sshd as agent_sshd
from tatu.core.certificate import CertificateType
from tatu.core.keys import PublicKey
from tatu.core.statement import BreakGlass, Freshness, FreshnessPolicy
from tests.fakes.agent_host import ACCOUNT, AgentHost, make_keys
from tests.fakes.tatu_server import FakeTatu, Key, certify


class Sshd:
    """sshd on loopback with the host's configuration; reloaded by its pid."""

    def __init__(self, host):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = host.root / "sshd.log"
        pid_file = host.root / "sshd.pid"
        host.config.write_text(
            host.config.read_text() + f"ListenAddress 127.0.0.1:{self.port}\nPidFile {pid_file}\n"
        )
        self.reload = f"sh -c 'kill -HUP $(cat {pid_file})'"
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", host.config, "-E", self.log]
        )
        self.wait()

    def wait(self):
        """Wait until a connection is greeted."""
        until = time.monotonic() + 30
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    if connection.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.01)

    def wait_for(self, text):
        """Wait until the log says so."""
        until = time.monotonic() + 30
        while text not in self.log.read_text():
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def tatu():
    server = FakeTatu(accounts={ACCOUNT: ("admin",)})
    yield server
    server.close()


@pytest.fixture
def host(tmp_path, tmp_path_factory):
    return AgentHost(tmp_path / "host", make_keys(tmp_path_factory.mktemp("keys")))


@pytest.fixture
def sshd(host):
    running = Sshd(host)
    yield running
    running.stop()


@pytest.fixture
def login(tatu, sshd, tmp_path):
    """Log in with a certificate of these principals and this serial, without a question.

    `signer` certifies instead of the authority's user key; `changes` are other fields.
    """
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    line = f"@cert-authority db-1 {tatu.host_key.public}\n"
    (tmp_path / "known_hosts").write_text(line)

    def attempt(principals, serial=3, certified=True, signer=None, **changes):
        now = datetime.now(UTC).replace(microsecond=0)
        fields = {
            "type": CertificateType.USER,
            "serial": serial,
            "key_id": f"alice_{serial}",
            "valid_before": now + timedelta(hours=1),
            **changes,
        }
        public = PublicKey.parse((tmp_path / "id.pub").read_text())
        certificate = certify(signer or tatu.user_key, public, principals, **fields)
        (tmp_path / "id-cert.pub").write_text(certificate.line + "\n")
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": tmp_path / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "db-1",
            "CertificateFile": tmp_path / "id-cert.pub" if certified else "/dev/null",
            "IdentityFile": key,
        }
        arguments = [f"-o{name}={value}" for name, value in options.items()]
        target = ["-p", str(sshd.port), f"{ACCOUNT}@127.0.0.1", "echo in"]
        return subprocess.run(
            ["ssh", "-F", "none", *arguments, *target],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "SSH_AUTH_SOCK": ""},
        )

    return attempt


def test_access_begins_with_a_certificate_and_ends_with_the_next_sync(host, tatu, sshd, login):
    before = login(("admin",))
    assert before.returncode == 255
    assert "Host key verification failed" in before.stderr
    assert host.enrol(tatu.token, "--reload-command", sshd.reload) == 0
    sshd.wait()
    let_in = login(("admin",))
    assert let_in.stdout == "in\n", let_in.stderr + sshd.log.read_text()
    assert login((ACCOUNT,)).returncode == 255, "a principal is not an account"
    assert login(("member",)).returncode == 255
    tatu.revoked = frozenset({3})
    tatu.publish()
    assert host.sync() == 0
    assert login(("admin",)).returncode == 255
    assert "revoked by file" in sshd.log.read_text()
    assert login(("admin",), serial=4).returncode == 0
    tatu.publish(accounts={"nobody-here": ("admin",)})
    assert host.sync() == 0
    assert login(("admin",), serial=4).returncode == 255


def test_without_a_reload_command_the_pid_file_says_whom_to_hang_up(host, sshd, monkeypatch):
    pid_file = host.root / "sshd.pid"
    monkeypatch.setattr(agent_sshd, "_PID_FILES", (str(pid_file),))
    agent_sshd._hang_up()
    sshd.wait_for("Received SIGHUP; restarting.")
    sshd.wait()


def test_a_pid_file_that_was_left_behind_hangs_up_nobody(tmp_path, monkeypatch):
    other = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "pid").write_text(f"{other.pid}\n")
        monkeypatch.setattr(agent_sshd, "_PID_FILES", (str(tmp_path / "pid"),))
        agent_sshd._hang_up()
        assert other.poll() is None
    finally:
        other.kill()
    assert other.wait(10) == -9


def test_a_command_that_names_keys_or_principals_opens_no_managed_account(
    host, tatu, sshd, login, tmp_path
):
    named = f"/bin/echo {(tmp_path / 'id.pub').read_text().rsplit(' ', 1)[0]}"
    commands = {"AuthorizedKeys": named, "AuthorizedPrincipals": "/bin/echo mallory"}
    for name, command in commands.items():
        line = f"{name}Command {command}\n{name}CommandUser root\n"
        host.config.write_text(host.config.read_text() + line)
    assert host.enrol(tatu.token, "--reload-command", sshd.reload) == 0
    sshd.wait()
    assert login(("mallory",)).returncode == 255
    assert login(("admin",), signer=Key()).returncode == 255
    assert login(("admin",), certified=False).returncode == 255
    assert login(("admin",)).stdout == "in\n"
    assert "Failed publickey" in sshd.log.read_text()


def test_an_authorized_key_opens_no_managed_account(host, tatu, sshd, login, tmp_path):
    keys = tmp_path / "authorized_keys"
    keys.write_text((tmp_path / "id.pub").read_text())
    host.config.write_text(f"{host.config.read_text()}AuthorizedKeysFile {keys}\n")
    tatu.publish(accounts={ACCOUNT: ("alice",)})
    assert host.enrol(tatu.token, "--reload-command", sshd.reload) == 0
    sshd.wait()
    assert login(("admin",), certified=False).returncode == 255
    assert login(("alice",)).returncode == 0


HERE = {"source-address": "127.0.0.1/32"}
REFUSING = Freshness(policy=FreshnessPolicy.REFUSE_NEW_LOGINS, max_age_seconds=600)


def later(monkeypatch, **passed):
    """Have the agent's clock go ahead; sshd's and ssh's stay."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(**passed)

    monkeypatch.setattr(main, "datetime", Clock)


def test_after_a_day_without_anything_of_tatu_break_glass_lets_in(
    host, tatu, sshd, login, monkeypatch
):
    offline = Key()
    tatu.publish(
        accounts={"nobody-here": ("member",)},
        break_glass=BreakGlass(authorities=(offline.public,), account=ACCOUNT),
        freshness=REFUSING,
    )
    assert host.enrol(tatu.token, "--reload-command", sshd.reload) == 0
    tatu.close()
    later(monkeypatch, hours=25)
    assert host.sync("--reload-command", sshd.reload) == 1
    sshd.wait()

    let_in = login((ACCOUNT,), signer=offline, critical_options=HERE)
    assert let_in.stdout == "in\n", let_in.stderr + sshd.log.read_text()
    assert "new logins are refused but for break-glass" in let_in.stderr
    assert login((ACCOUNT,), critical_options=HERE).returncode == 255, "by a role's authority"
    now = datetime.now(UTC).replace(microsecond=0)
    for principals, wrong in (
        ((ACCOUNT,), {}),
        ((ACCOUNT,), {"critical_options": {"source-address": "192.0.2.0/24"}}),
        ((ACCOUNT,), {"critical_options": {"source-address": "127.0.0.1/32,0.0.0.0/0"}}),
        ((ACCOUNT, "member"), {"critical_options": HERE}),
        (("member",), {"critical_options": HERE}),
        ((ACCOUNT,), {"critical_options": HERE, "valid_before": now + timedelta(hours=4)}),
    ):
        refused = login(principals, signer=offline, **wrong)
        assert (refused.returncode, refused.stdout) == (255, ""), (principals, wrong)


def test_a_stale_statement_refuses_and_says_so_until_the_next_fresh_one(
    host, tatu, sshd, login, monkeypatch
):
    offline = Key()
    elsewhere = BreakGlass(authorities=(offline.public,), account="nobody-there")
    tatu.publish(break_glass=elsewhere, freshness=REFUSING)
    assert host.enrol(tatu.token, "--reload-command", sshd.reload) == 0
    sshd.wait()
    before = login(("admin",))
    assert (before.stdout, "Tatu" in before.stderr) == ("in\n", False), before.stderr
    for principal in ("admin", ACCOUNT, "nobody-there"):
        assert login((principal,), signer=offline, critical_options=HERE).returncode == 255

    with monkeypatch.context() as changed:
        later(changed, seconds=602)
        tatu.served["/v2/authorities/blue/statement"] = 503, b""
        assert host.sync("--reload-command", sshd.reload) == 1
        sshd.wait()
        refused = login(("admin",))
        assert refused.returncode == 255
        assert "new logins are refused but for break-glass" in refused.stderr

    tatu.served.clear()
    tatu.publish(break_glass=elsewhere, freshness=REFUSING)
    assert host.sync("--reload-command", sshd.reload) == 0
    sshd.wait()
    after = login(("admin",))
    assert (after.stdout, "Tatu" in after.stderr) == ("in\n", False), after.stderr
    assert not (host.ssh / "tatu/notice").exists()
