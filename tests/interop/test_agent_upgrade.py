"""Upgrades: a signed, later release on a host whose operator wants it, and nothing else (S17)."""

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from tatu import agentfile
from tatu.agent import VERSION, upgrade
from tatu.agent.errors import AgentError
from tests.fakes.agent_host import AgentHost, make_keys
from tests.fakes.http import FakeHttp

LATER = "9.0.0"
SHEBANG = b"#!/usr/bin/python3 -IS\n"


def make_key(folder, name):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
    )
    return folder / name


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The release key, and somebody's."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: make_key(folder, name) for name in ("release", "other")}


class Host:
    """A host on which the packed agent runs, with upgrades on."""

    def __init__(self, root, keys, *, release_keys=True):
        self.root, self.keys = root, keys
        self.program = root / "usr/lib/tatu-agent/tatu-agent"
        self.program.parent.mkdir(parents=True)
        public = keys["release"].with_suffix(".pub").read_bytes() if release_keys else b""
        agentfile.write(self.program, public)
        self.before = self.program.read_bytes()
        self.policy = root / "etc/tatu-agent/upgrades"
        self.policy.parent.mkdir(parents=True)
        self.policy.write_text("on\n")

    def release(self, version=LATER, *, key="release", namespace="release@tatu", change=b""):
        """Make a release of this agent under another version; sign it, then change it."""
        path = self.root / "release"
        text = f'VERSION = "{version}"\n'
        path.write_bytes(SHEBANG)
        with zipfile.ZipFile(self.program) as old, zipfile.ZipFile(path, "a") as new:
            for name in old.namelist():
                body = old.read(name)
                if name == "tatu/agent/__init__.py":
                    body = body.replace(f'VERSION = "{VERSION}"\n'.encode(), text.encode())
                new.writestr(name, body)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", self.keys[key], "-n", namespace, path]
        (self.root / "release.sig").unlink(missing_ok=True)
        subprocess.run(command, check=True, capture_output=True)
        path.write_bytes(path.read_bytes() + change)
        return path

    def upgrade(self, *words):
        command = [self.program, "upgrade", "--root", self.root, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).split()[-1]

    def refuses(self, text, *words):
        done = self.upgrade(*words)
        assert done.returncode == 1, done.stdout
        assert text in done.stderr
        assert self.before == self.program.read_bytes()
        assert not (self.root / "usr/lib/tatu-agent/upgrade").exists()


@pytest.fixture(scope="module")
def keys_of_host(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys_of_host"))


@pytest.fixture
def host(tmp_path, keys):
    return Host(tmp_path, keys)


def test_a_later_release_takes_over(host):
    done = host.upgrade(host.release())
    assert done.returncode == 0, done.stderr
    assert f"upgraded from {VERSION} to {LATER}: what runs goes on as {VERSION}" in done.stdout
    assert host.version() == LATER
    assert host.program.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("there", [None, b"", "0.0.9", "later", "linked"])
def test_setup_puts_the_agent_where_the_unit_runs_it_unless_a_later_one_is_there(host, there):
    host.program.unlink()
    if there == "later":
        later = host.root / "later"
        host.program.write_bytes(host.before)
        later.write_bytes(host.release().read_bytes())
        later.replace(host.program)
    elif there == "0.0.9":
        host.program.write_bytes(host.before)
        host.release("0.0.9").replace(host.program)
    elif there == b"":
        host.program.touch(mode=0o600)
    kept = host.program.read_bytes() if there == "later" else host.before
    brought = host.root / "brought"
    brought.write_bytes(host.before)
    brought.chmod(0o700)
    if there == "linked":
        brought.replace(host.program)
        brought.symlink_to(host.program)
    done = subprocess.run(
        [brought, "setup", "--root", host.root], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert host.program.read_bytes() == kept
    assert there == "later" or host.program.stat().st_mode & 0o777 == 0o755


def test_what_runs_writes_its_hooks_whole_after_an_upgrade(host):
    """Where no systemd starts it again, the file that it came from is another meanwhile."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tatu.agent import hooks\n"
        "print('ready', flush=True); input()\n"
        "from pathlib import Path; from tatu.agent.layout import Layout\n"
        "root = Path(sys.argv[2])\n"
        "for name in ('breakglass', 'session', 'sudo'): hooks.command(Layout(root, root, '', '', ''), name)\n"
    )
    state = host.root / "var/lib/tatu-agent"
    state.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", script, host.program, host.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout.readline() == b"ready\n"
        host.program.write_bytes(b"# longer\n" * 9 + host.before[:-999])
        assert host.before != host.program.read_bytes()
        running.communicate(b"\n", timeout=30)
    assert running.returncode == 0
    packed = zipfile.ZipFile(io.BytesIO(host.before))
    for name in ("breakglass_hook.py", "session_hook.sh", "sudo_hook.py"):
        written = (host.program.parent / name.partition("_")[0]).read_bytes()
        assert written == packed.read(f"tatu/agent/{name}"), name


@pytest.mark.parametrize(
    "policy", [None, "", "off\n", "on please\n", "0%", "101%", "10", "-5%", "10%%"]
)
def test_upgrades_are_off_unless_this_host_says_otherwise(host, policy):
    host.policy.unlink()
    if policy is not None:
        host.policy.write_text(policy)
    host.refuses("upgrades are off", host.release())


@pytest.mark.parametrize(
    "how", [{"key": "other"}, {"namespace": "statement@tatu"}, {"change": b"more"}], ids=str
)
def test_what_no_release_key_signed_as_a_release_is_not_run(host, how):
    host.refuses("the check of the release's signature", host.release(**how))


def test_an_older_release_stays_what_it_was(host):
    host.refuses("is not after", host.release("0.0.9"))


def test_what_runs_already_is_no_failure(host):
    done = host.upgrade(host.release(VERSION))
    assert (done.returncode, done.stdout) == (0, f"tatu-agent: {VERSION} runs here already\n")
    assert host.before == host.program.read_bytes()


def turn(monkeypatch, name, version=LATER):
    state = SimpleNamespace(authority="blue", host=name)
    monkeypatch.setattr(upgrade.Store, "load", lambda _: state)
    return upgrade._turn(SimpleNamespace(state=None), version)


def test_each_host_has_its_turn_and_another_one_for_each_version(monkeypatch):
    names = [f"web-{number}" for number in range(1000)]
    turns = [turn(monkeypatch, name) for name in names]
    assert turns == [turn(monkeypatch, name) for name in names]
    assert (min(turns), max(turns)) == (1, 100)
    for share in (10, 50, 90):
        assert abs(sum(each <= share for each in turns) - 10 * share) < 60
    assert turns != [turn(monkeypatch, name, "9.0.1") for name in names]


def test_a_release_waits_on_hosts_whose_turn_it_is_not(host, tatu, keys_of_host, monkeypatch):
    enrolled = AgentHost(host.root / "enrolled", keys_of_host)
    assert enrolled.enrol(tatu.token) == 0
    shutil.move(enrolled.state, host.root / "var/lib/tatu-agent")
    first = turn(monkeypatch, tatu.host)
    host.policy.write_text(f"{first - 1}%\n" if first > 1 else "0%\n")
    done = host.upgrade(host.release())
    assert done.returncode == (0 if first > 1 else 1), done.stderr
    assert host.before == host.program.read_bytes()
    host.policy.write_text(f"{first}%\n")
    assert host.upgrade(host.release()).returncode == 0
    assert host.version() == LATER


def test_a_host_that_is_not_enrolled_is_in_no_share(host):
    host.policy.write_text("99%\n")
    host.refuses("not enrolled", host.release())


def test_a_release_that_does_not_run_here_is_not_put_in_place(host):
    path = host.root / "release"
    path.write_bytes(SHEBANG)
    with zipfile.ZipFile(path, "a") as new:
        new.writestr("tatu/agent/__init__.py", f'VERSION = "{LATER}"\n')
        new.writestr("__main__.py", "raise SystemExit(3)\n")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", host.keys["release"], "-n"]
    subprocess.run([*command, "release@tatu", path], check=True, capture_output=True)
    host.refuses("failed", path)


def test_an_agent_without_release_keys_takes_no_upgrade(tmp_path, keys):
    host = Host(tmp_path, keys, release_keys=False)
    host.refuses("without release keys", host.release())


def test_a_release_without_its_signature_is_none(host):
    path = host.release()
    (host.root / "release.sig").unlink()
    host.refuses("there is no", path)


class Offering(FakeHttp):
    """A Tatu that offers these bytes and this signature."""

    def __init__(self, data, signature):
        super().__init__()
        self.data, self.signature = data, signature

    def respond(self, method, path, headers, body):
        digest = hashlib.sha256(self.data).hexdigest()
        if path == "/v2/agent":
            return 200, {}, self.data
        if path == f"/v2/agent/{digest}/signature" and self.signature:
            return 200, {}, self.signature
        return 404, {}, b"{}"


@pytest.mark.parametrize("signed", [True, False])
def test_what_tatu_offers_comes_with_its_signature_or_not_at_all(host, signed):
    path = host.release()
    signature = path.with_name("release.sig").read_bytes()
    tatu = Offering(path.read_bytes(), signature if signed else b"")
    state = SimpleNamespace(url=tatu.url, ca_file=None, insecure_http=False)
    store = SimpleNamespace(load=lambda: state)
    try:
        if signed:
            assert upgrade.from_server(store) == (path.read_bytes(), signature.decode())
        else:
            with pytest.raises(AgentError, match="answered 404"):
                upgrade.from_server(store)
    finally:
        tatu.stop()


def test_a_host_that_is_not_enrolled_is_offered_nothing():
    with pytest.raises(AgentError, match="not enrolled"):
        upgrade.from_server(SimpleNamespace(load=lambda: None))
