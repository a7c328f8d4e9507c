"""What `tatu ssh` does when there is nothing to refresh."""

import subprocess
import sys
import time

import pytest

from tatu.client import ready
from tatu.client.ready import Ready
from tatu.core.errors import Malformed

NOW = 1_000_000


def a_ready(**facts):
    values = {
        "valid_after": NOW,
        "valid_before": NOW + 86_400,
        "principals": ["admin"],
        "hosts": {"db": "db-1", "db-1": "db-1"},
        "waiting": [],
        "asked_at": NOW,
        "forwards": False,
    }
    return Ready(**{**values, **facts})


@pytest.mark.parametrize(
    ("life", "left", "due"),
    [
        (86_400, 301, False),
        (86_400, 299, True),
        (600, 61, False),
        (600, 59, True),
        (600, -1, True),
    ],
)
def test_a_certificate_is_due_in_its_last_minutes(life, left, due):
    found = a_ready(valid_before=NOW + life)
    assert found.certificate_is_due(NOW + life - left) == due


@pytest.mark.parametrize(
    ("host", "age", "due"),
    [(None, 3599, False), (None, 3600, True), ("db", 3599, False), ("new", 59, False),
     ("new", 60, True), (None, -1, True)],
)  # fmt: skip
def test_trust_is_due_hourly_and_for_hosts_not_known(host, age, due):
    assert a_ready().trust_is_due(NOW + age, host) == due


def test_what_was_saved_is_loaded(tmp_path):
    path = tmp_path / "ready.json"
    a_ready().save(str(path))
    assert Ready.load(str(path)) == a_ready()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["ready.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"x": 1}', "[" * 9999, "\xff"])
def test_a_damaged_file_is_no_use(tmp_path, text):
    (tmp_path / "ready.json").write_text(text, "latin-1")
    assert Ready.load(str(tmp_path / "ready.json")) is None


def command(target, arguments=(), **facts):
    return ready.ssh_command("/state", a_ready(**facts), target, list(arguments))


def test_the_command_names_certificate_trust_and_host_id(tmp_path):
    (tmp_path / "revoked_host_keys").write_bytes(b"x")
    (tmp_path / "id_ed25519").write_bytes(b"x")
    made = ready.ssh_command(str(tmp_path), a_ready(), "root@DB", ["-p", "22", "uptime"])
    options = [word for word in made if "=" in word]
    assert f'CertificateFile="{tmp_path}/id_ed25519-cert.pub"' in options
    assert f'IdentityFile="{tmp_path}/id_ed25519"' in options
    assert f'RevokedHostKeys="{tmp_path}/revoked_host_keys"' in options
    assert {"IdentitiesOnly=yes", "ForwardAgent=no", "HostKeyAlias=db-1"} <= set(options)
    assert made[-6:] == ["-l", "root", "DB", "-p", "22", "uptime"]


def test_without_a_key_file_the_agent_is_asked_by_the_public_half():
    assert 'IdentityFile="/state/id_ed25519.pub"' in command("root@db")


def test_a_host_that_tatu_does_not_know_gets_no_alias():
    assert not any("HostKeyAlias" in word for word in command("root@github.com"))


def test_a_name_without_a_domain_leads_to_the_hosts_first_address():
    names = ("web-1", "web", "web.b.example", "192.0.2.7", "2001:db8::7")
    hosts = dict.fromkeys(names, "web-1") | {"db-1": "db-1"}
    for name in ("web-1", "web", "WEB"):
        assert "HostName=192.0.2.7" in command(f"root@{name}", hosts=hosts)
    for name in ("web.b.example", "192.0.2.7", "2001:db8::7", "db-1", "other"):
        made = command(f"root@{name}", hosts=hosts)
        assert not any("HostName" in word for word in made)


def test_the_users_own_host_name_counts():
    made = command("db", ["-o", "HostName=10.0.0.1"], hosts={"db": "db", "192.0.2.7": "db"})
    assert "HostName=192.0.2.7" not in made


def test_for_a_host_that_has_not_enrolled_yet_we_ask_again():
    found = a_ready(waiting=["db-1"])
    assert found.waits("db")
    assert not found.waits("other")
    assert found.trust_is_due(NOW + 61, "db")
    assert not found.trust_is_due(NOW + 61)


def test_for_a_host_that_tatu_knows_its_own_file_alone_counts():
    assert 'UserKnownHostsFile="/state/known_hosts"' in command("root@db")
    assert not any(word.endswith('/state/known_hosts"') for word in command("root@github.com"))


def test_the_one_principal_is_the_user():
    assert command("db")[-3:] == ["-l", "admin", "db"]


def test_among_several_principals_nobody_guesses():
    with pytest.raises(Malformed, match="admin, member"):
        command("db", principals=["admin", "member"])


@pytest.mark.parametrize("target", ["", "-oProxyCommand=x", "u@-oProxyCommand=x", "@db", "u@"])
def test_a_target_that_ssh_would_take_for_an_option_is_refused(target):
    with pytest.raises(Malformed):
        command(target)


@pytest.fixture
def home(tmp_path):
    """A home with a valid certificate, and an ssh that shows how it was called."""
    folder = tmp_path / ".local/state/tatu/blue"
    folder.mkdir(parents=True)
    now = int(time.time())
    a_ready(valid_after=now, valid_before=now + 3600, asked_at=now).save(f"{folder}/ready.json")
    (folder.parent / "current").write_text("blue\n")
    (tmp_path / "ssh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "ssh").chmod(0o755)
    return tmp_path


def run(home, *arguments):
    environment = {"HOME": str(home), "PATH": f"{home}:/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tatu.cli", *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("ssh", "root@db", "--", "uptime"),
        ("--cloud", "blue", "ssh", "root@db", "--", "uptime"),
        ("ssh", "--cloud", "blue", "root@db", "--", "uptime"),
    ],
)
def test_a_login_loads_nothing_large_and_becomes_ssh(home, arguments):
    result = run(home, *arguments)
    assert result.stdout.splitlines()[-2:] == ["db", "uptime"]
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "tatu.client.ready" in loaded
    assert not loaded & {"cliff", "yaml", "requests", "cryptography", "msgspec", "argparse"}


def test_the_refresh_of_a_match_exec_loads_nothing_large_either(home):
    loaded = run(home, "ssh-config", "refresh", "--cloud", "blue").stderr
    assert "tatu.client.ready" in loaded
    assert "cliff" not in loaded
