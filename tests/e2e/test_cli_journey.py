"""The command line against a real server, ssh-agent, ssh and sshd."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import urllib.request

import pytest
import yaml

from tests.e2e.cli_lab import PROJECT, TATU, Agent, Person, Server, Sshd, enrol, make_key, tell

pytestmark = pytest.mark.slow

ADDRESS = "127.0.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def admin_key(folder):
    return make_key(folder / "admin")


@pytest.fixture(scope="module")
def server(folder, admin_key):
    running = Server(folder, admin_key)
    first = Person(folder / "alice", running)
    first.login(admin_key)
    first.run("ca", "create")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def sshd(folder, server):
    """A host that was enrolled with a token, and lets the principal `admin` in as root."""
    operator = Person(folder / "alice", server)
    made = operator.json("token", "create", "db-1", "--name", "db", "--address", ADDRESS)
    host_key = make_key(folder / "host")
    facts = enrol(server, made["token"], host_key)
    running = Sshd(folder, host_key, facts["user_authorities"], ["admin"])
    yield running
    running.stop()


@pytest.fixture
def agent(tmp_path):
    running = Agent(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def person(tmp_path, server):
    return Person(tmp_path / "home", server)


@pytest.fixture
def alice(person, folder):
    """Alice, as she is after her first sign-in."""
    shutil.copytree(folder / "alice", person.home, dirs_exist_ok=True)
    return person


def ssh(person, sshd, *command, target=f"root@{ADDRESS}", status=0):
    """Log in by `tatu ssh`, which must end with this status."""
    return person.run(
        "ssh", target, "--", "-F", "none", "-p", sshd.port, "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=yes", *command, status=status,
    )  # fmt: skip


def requests(server, route):
    """Count what the server was asked for a route."""
    lines = (json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{")
    return sum(line.get("route") == route for line in lines)


CERTIFICATES = "/v2/authorities/{authority}/user-certificates"


def test_whoever_signs_in_is_told_who_they_are(alice):
    shown = alice.json("whoami")
    assert (shown["user"], sorted(shown["roles"])) == ("alice", ["admin", "manager", "member"])


def test_nothing_of_the_state_can_be_read_by_others(alice):
    alice.run("usercert", "create")
    modes = {path.name: path.stat().st_mode & 0o777 for path in alice.state.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"session.json", "id_ed25519"} <= set(modes)
    assert alice.state.stat().st_mode & 0o777 == 0o700


def test_a_saved_cloud_needs_no_options_to_sign_in_again(alice):
    alice.run("logout")
    alice.run("whoami", status=3)
    alice.run("login")
    assert alice.json("whoami")["cloud"] == "test"


def test_logging_out_ends_the_token_on_the_server(alice):
    token = json.loads((alice.state / "session.json").read_text())["token"]
    alice.run("usercert", "create")
    alice.run("logout")
    assert not (alice.state / "id_ed25519").exists()
    assert not (alice.state / "id_ed25519-cert.pub").exists()
    request = urllib.request.Request(
        f"{alice.server.url}/v2/whoami", headers={"Authorization": f"Bearer {token}"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)


def test_every_format_shows_the_same_certificate(alice):
    made = alice.json("usercert", "create", "--principal", "member")
    arguments = ("usercert", "show", made["serial"])
    from_json = alice.json(*arguments)
    from_yaml = yaml.safe_load(alice.run(*arguments, "-f", "yaml").stdout)
    value = alice.run(*arguments, "-f", "value", "-c", "key_id").stdout.strip()
    rows = csv.DictReader(io.StringIO(alice.run("usercert", "list", "-f", "csv").stdout))
    in_csv = next(row for row in rows if int(row["serial"]) == made["serial"])
    assert from_json["principals"] == from_yaml["principals"] == ["member"]
    assert from_json["key_id"] == from_yaml["key_id"] == value == in_csv["key_id"]
    assert value in alice.run(*arguments).stdout


def test_a_certificate_is_as_narrow_as_was_asked_for(alice):
    alice.run(
        "usercert", "create", "--principal", "member", "--validity", "10m",
        "--force-command", "uptime", "--source-address", "192.0.2.0/24",
    )  # fmt: skip
    file = alice.state / "id_ed25519-cert.pub"
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", file], capture_output=True, text=True, check=True
    ).stdout
    assert "force-command uptime" in shown
    assert "source-address 192.0.2.0/24" in shown
    assert re.search(r"Principals: \n\s+member\n\s+Critical", shown)
    alice.run("cert", "lint", file)


def test_a_key_of_ones_own_is_certified_beside_its_public_half(alice, tmp_path):
    key = make_key(tmp_path / "mine")
    made = alice.json("usercert", "create", "--public-key", f"{key}.pub")
    assert made["file"] == f"{key}-cert.pub"
    alice.run("cert", "lint", f"{key}-cert.pub")


def test_a_key_in_the_agent_is_certified_by_its_proof(alice, agent, tmp_path):
    key = make_key(tmp_path / "mine", "-C", "mine")
    agent.run(key)
    key.unlink()
    alice.environment["SSH_AUTH_SOCK"] = str(agent.socket)
    alice.run("usercert", "create", "--public-key", f"{key}.pub")
    assert (tmp_path / "mine-cert.pub").exists()


def test_a_key_may_be_given_as_text_when_the_agent_has_it(alice, agent, tmp_path):
    key = make_key(tmp_path / "mine")
    agent.run(key)
    text = (tmp_path / "mine.pub").read_text()
    alice.environment["SSH_AUTH_SOCK"] = str(agent.socket)
    made = alice.json("usercert", "create", text)
    assert "file" not in made
    assert made["certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    with (tmp_path / "mine.pub").open() as file:
        piped = alice.run("usercert", "create", "-", "-f", "json", stdin=file)
    assert json.loads(piped.stdout)["subject_key"] == made["subject_key"]
    assert not (tmp_path / "mine-cert.pub").exists()


def test_host_keys_that_are_made_here_are_certified_beside_them(alice, tmp_path):
    key = make_key(tmp_path / "ssh_host_ed25519_key")
    (made,) = alice.json("hostcert", "create", "built-1", "--name", "built", "--key", key)
    assert made["file"] == f"{key}-cert.pub"
    assert set(made["principals"]) == {"built-1", "built"}
    alice.run("cert", "lint", made["file"])
    assert alice.json("host", "show", "built-1")["state"] == "enrolled"
    listed = alice.json("hostcert", "list", "--host", "built-1")
    assert [found["serial"] for found in listed] == [made["serial"]]
    alice.run("host", "delete", "built-1")


def test_what_a_host_tells_is_shown_and_who_has_not_told_is_named(alice, server, tmp_path):
    key = make_key(tmp_path / "ssh_host_ed25519_key")
    alice.json("hostcert", "create", "told-1", "--key", key)
    mine = alice.json("usercert", "create")
    serial = mine["serial"]
    waiting = ("usercert", "revoke", serial, "--no-block", "--wait", "--timeout", "1s")
    revoked = alice.run(*waiting, "-f", "json", status=1)
    assert "told-1" in revoked.stderr.splitlines()[-1]
    assert re.search(r"^refused on 0/[1-9]+ hosts in 1\.[0-9] s$", revoked.stderr, re.MULTILINE)
    assert json.loads(revoked.stdout)["revoked"] == [str(serial)]
    with urllib.request.urlopen(f"{server.url}/v2/authorities/{PROJECT}/statement") as answer:
        stated = json.loads(json.load(answer)["statement"])
    receipt = {name: stated[name] for name in ("krl_version", "krl_digest")}
    at = stated["issued"]
    receipt |= {"statement_version": stated["version"], "at": at}
    tell(server, "told-1", key, "PUT receipt", receipt)
    certificate = {name: mine[name] for name in ("serial", "key_id", "subject_key")}
    certificate["signature_key"] = mine["signature_key"]
    opened = {"account": "admin", "source": "192.0.2.9", **certificate}
    session = {"id": 3, "since": at, **opened}
    finding = {"level": "warning", "about": "keys", "detail": "a key of root's"}
    facts = {"agent_version": "1.0", "openssh": "9.2", "os": "Debian"}
    report = {**facts, "findings": [finding], "sessions": [session]}
    tell(server, "told-1", key, "PUT report", report)
    event = {"id": "1", "at": "2026-01-01T00:00:00Z", "kind": "accepted", **opened}
    forged = event | {"id": "2", "serial": 999}
    ended = event | {"id": "3", "kind": "ended", "detail": "its certificate is revoked"}
    tell(server, "told-1", key, "POST logins", {"events": [event, forged, ended], "lost": 4})
    shown = alice.json("host", "show", "told-1")
    assert (shown["krl_version"], shown["sessions"], shown["agent_version"]) == (
        stated["krl_version"],
        1,
        "1.0",
    )
    assert shown["findings"] == ["warning: keys: a key of root's"]
    (found,) = alice.json("host", "sessions", "told-1")
    assert (found["user_name"], found["serial"], found["source"]) == ("alice", serial, "192.0.2.9")
    listed = alice.json("login", "list", "--host", "told-1")
    assert [
        (each["kind"], each["user_name"], each["detail"], each["alarm"]) for each in listed
    ] == [
        ("lost", "", "4 events", ""),
        ("ended", "alice", "its certificate is revoked", ""),
        ("accepted", "", "", "unknown serial"),
        ("accepted", "alice", "", ""),
    ]
    asked = ("--after", "2025-12-31T00:00:00Z", "--account", "admin", "--limit", "1")
    (found,) = alice.json("login", "list", *asked, "--alarm", "--all-projects")
    assert (found["serial"], found["authority"]) == (999, PROJECT)
    alice.run("login", "list", "--after", "yesterday", status=2)
    alice.run("host", "delete", "told-1")


def test_a_blocked_key_is_listed_and_certified_again_once_it_is_cleared(alice, tmp_path):
    key = make_key(tmp_path / "mine")
    certify = ("usercert", "create", "--public-key", f"{key}.pub")
    fingerprint = alice.json(*certify)["subject_key"]
    alice.run("usercert", "revoke", "--subject-key", fingerprint, "--reason", "lost", "--block")
    alice.run(*certify, status=4)
    (block,) = alice.json("block", "list")
    assert (block["kind"], block["value"]) == ("subject-key", fingerprint)
    assert (block["reason"], block["by"]) == ("lost", "u-root")
    alice.run("block", "clear", block["id"])
    assert alice.json("block", "list") == []
    alice.run("block", "clear", block["id"], status=1)
    alice.run(*certify)


def test_the_sign_in_key_is_not_certified(alice, admin_key):
    result = alice.run("usercert", "create", "--public-key", f"{admin_key}.pub", status=1)
    assert "no key serves two purposes" in result.stderr


def test_a_host_is_logged_in_to_without_a_question(alice, sshd):
    assert ssh(alice, sshd, "echo", "in").stdout == "in\n"
    assert ssh(alice, sshd, "exit", "7", status=7).returncode == 7
    assert ssh(alice, sshd, "echo", "in", target="root@db").stdout == "in\n"


def test_a_second_login_asks_the_server_nothing(alice, sshd):
    ssh(alice, sshd, "true")
    alice.environment["TATU_CLOUD"] = "test"
    config = alice.home / ".config/tatu/clouds.yaml"
    config.unlink()  # so that asking would fail
    ssh(alice, sshd, "true")


def test_a_valid_certificate_outlives_an_outage(alice, sshd):
    ssh(alice, sshd, "true")
    ready = json.loads((alice.state / "ready.json").read_text())
    (alice.state / "ready.json").write_text(json.dumps({**ready, "asked_at": 0}))
    config = alice.home / ".config/tatu/clouds.yaml"
    config.write_text(config.read_text().replace(alice.server.url, "http://127.0.0.1:9"))
    assert "still valid" in ssh(alice, sshd, "true").stderr
    assert ssh(alice, sshd, "true").stderr == ""


def test_a_revoked_certificate_is_refused_and_replaced(alice, sshd):
    serial = alice.json("usercert", "create")["serial"]
    revoked = alice.run("usercert", "revoke", serial, "--reason", "test")
    assert "revoke --user NAME --block" in revoked.stderr
    used = (alice.state / "id_ed25519-cert.pub").read_text()
    with urllib.request.urlopen(f"{alice.server.url}/v2/authorities/blue/krl") as answer:
        krl = answer.read()
    shutil.copy(alice.state / "id_ed25519", alice.home / "old")
    (alice.home / "old-cert.pub").write_text(used)
    try:
        (sshd.revoked.with_suffix(".new")).write_bytes(krl)
        sshd.revoked.with_suffix(".new").replace(sshd.revoked)
        refused = subprocess.run(
            ["ssh", "-F", "none", "-p", str(sshd.port), "-o", "BatchMode=yes",
             "-o", f"UserKnownHostsFile={alice.state}/known_hosts", "-o", "HostKeyAlias=db-1",
             "-o", "IdentitiesOnly=yes", "-i", alice.home / "old", f"root@{ADDRESS}", "true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
        ssh(alice, sshd, "true")
    finally:
        sshd.revoked.write_bytes(b"")


def test_a_host_that_was_ended_is_not_logged_in_to(alice, tmp_path):
    made = alice.json("token", "create", "web-2", "--name", "web")
    for target in ("root@web-2", "root@web"):
        waiting = alice.run("ssh", target, "--", "-F", "none", "-G")
        assert "not enrolled yet" in waiting.stderr
    host_key = make_key(tmp_path / "host")
    facts = enrol(alice.server, made["token"], host_key)
    running = Sshd(tmp_path, host_key, facts["user_authorities"], ["admin"])
    try:
        alice.run("known-hosts")
        to_it = ("-o", f"HostName={ADDRESS}", "true")
        ssh(alice, running, *to_it, target="root@web-2")
        alice.run("host", "delete", "web-2")
        # what ssh was told before still holds: that the host is web-2, by its certificate
        known = (alice.state / "known_hosts").read_text()
        alice.run("known-hosts")
        (alice.state / "known_hosts").write_text(known)
        refused = ssh(
            alice, running, "-o", "HostKeyAlias=web-2", *to_it, target="root@web-2", status=255
        )
        assert "revoked" in refused.stderr
    finally:
        running.stop()


def test_nothing_secret_is_logged_however_much_is_asked_for(alice, tmp_path):
    alice.run("-v", "-v", "--debug", "--log-file", tmp_path / "log", "login")
    shown = alice.run("-v", "-v", "--debug", "--log-file", tmp_path / "log", "usercert", "create")
    token = json.loads((alice.state / "session.json").read_text())["token"]
    written = shown.stdout + shown.stderr + (tmp_path / "log").read_text()
    assert "/v2/authorities/blue/user-certificates" in written
    for secret in (token, "Bearer", "PRIVATE KEY", "SSH SIGNATURE"):
        assert secret not in written


def test_an_absent_agent_is_said_before_a_certificate_is_made(person, admin_key):
    person.login(admin_key, "--agent")
    before = requests(person.server, CERTIFICATES)
    result = person.run("usercert", "create", status=1)
    assert "SSH_AUTH_SOCK" in result.stderr
    assert before == requests(person.server, CERTIFICATES)


def test_a_key_may_live_in_the_agent_alone(person, agent, admin_key, sshd):
    person.environment["SSH_AUTH_SOCK"] = str(agent.socket)
    person.login(admin_key, "--agent")
    assert ssh(person, sshd, "echo", "in").stdout == "in\n"
    assert not (person.state / "id_ed25519").exists()
    assert "tatu:test" in agent.run("-l").stdout
    person.run("logout")
    assert "tatu:test" not in agent.run("-l").stdout


def test_the_sign_in_key_may_be_in_the_agent(person, agent, admin_key):
    agent.run(admin_key)
    person.environment["SSH_AUTH_SOCK"] = str(agent.socket)
    fingerprint = agent.run("-l").stdout.split()[1]
    person.login(f"agent:{fingerprint}")
    assert person.json("whoami")["user"] == "alice"


def test_a_passphrase_is_not_asked_for_without_a_terminal(person, tmp_path, alice):
    key = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    alice.run("user", "key", "add", "alice", f"{key}.pub")
    result = person.run(
        "login", "--cloud", "test", "--url", person.server.url, "--user", "alice",
        "--project", "blue", "--key", key, status=3,
    )  # fmt: skip
    assert "needs its passphrase" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_plain_ssh_uses_the_written_configuration(alice, sshd):
    alice.run("ssh-config", "--install")
    before = (alice.home / ".ssh/config").read_text()
    alice.run("ssh-config", "--install")
    assert before == (alice.home / ".ssh/config").read_text()
    assert before.startswith("# tatu: begin\nInclude ~/.ssh/tatu/*.conf\n")
    written = alice.home / ".ssh/tatu/test.conf"
    # ssh takes its home from the password database: what the Include would name is named
    shown = subprocess.run(
        ["ssh", "-G", "-F", written, "db"],
        capture_output=True, text=True, env=alice.environment, check=True,
    ).stdout  # fmt: skip
    assert "hostkeyalias db-1" in shown
    assert f"hostname {ADDRESS}" in shown
    assert "forwardagent no" in shown
    assert f"certificatefile {alice.state}/id_ed25519-cert.pub" in shown
    assert f"revokedhostkeys {alice.state}/revoked_host_keys" in shown
    login = subprocess.run(
        ["ssh", "-F", written, "-p", str(sshd.port), "-o", "BatchMode=yes", "-o",
         "StrictHostKeyChecking=yes", f"root@{ADDRESS}", "echo in"],
        capture_output=True, text=True, env=alice.environment, check=False,
    )  # fmt: skip
    assert (login.returncode, login.stdout) == (0, "in\n"), login.stderr


@pytest.fixture
def configured(alice, sshd):
    """How whatever runs ssh is told of the written configuration: `ssh` and its first options."""
    alice.run("ssh-config")
    return [
        "ssh", "-F", str(alice.home / ".ssh/tatu/test.conf"), "-o", f"Port={sshd.port}",
        "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
    ]  # fmt: skip


def run_over_ssh(person, *command, **more):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60,
        env={**person.environment, **more},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("copies", ["scp", "scp -O", "sftp", *filter(shutil.which, ["rsync"])])
def test_files_are_copied_by_the_written_configuration(alice, configured, tmp_path, copies):
    (tmp_path / "there").write_text("copied\n")
    program, *options = copies.split()
    options += ["-e", shlex.join(configured)] if program == "rsync" else configured[1:]
    source = f"root@{ADDRESS}:{tmp_path}/there"
    run_over_ssh(alice, program, *options, source, tmp_path / "here")
    assert (tmp_path / "here").read_text() == "copied\n"


def test_git_clones_and_pushes_by_the_written_configuration(alice, configured, tmp_path):
    git = ("git", "-c", "user.name=alice", "-c", "user.email=alice@blue.example")
    over = {"GIT_SSH_COMMAND": shlex.join(configured)}
    there, here = tmp_path / "there.git", tmp_path / "here"
    run_over_ssh(alice, "git", "init", "-q", "--bare", "-b", "main", there)
    run_over_ssh(alice, "git", "clone", "-q", f"root@{ADDRESS}:{there}", here, **over)
    run_over_ssh(alice, *git, "-C", here, "commit", "-q", "--allow-empty", "-m", "Pushed")
    run_over_ssh(alice, "git", "-C", here, "push", "-q", "origin", "HEAD:main", **over)
    run_over_ssh(alice, "git", "-C", there, "rev-parse", "-q", "--verify", "main")


def test_the_configuration_leaves_other_hosts_alone(alice, sshd):
    alice.run("ssh-config")
    written = alice.home / ".ssh/tatu/test.conf"
    shown = subprocess.run(
        ["ssh", "-G", "-F", written, "github.com"], capture_output=True, text=True, check=True
    ).stdout
    assert str(alice.state) not in shown
    assert "hostkeyalias" not in shown


def test_fifty_at_once_refresh_once(alice, sshd):
    alice.run("ssh-config")
    (alice.state / "ready.json").unlink()
    before = requests(alice.server, CERTIFICATES)
    running = [
        subprocess.Popen([TATU, "ssh-config", "refresh", "--cloud", "test"], env=alice.environment)
        for _ in range(50)
    ]
    assert {0} == {process.wait(120) for process in running}
    assert before + 1 == requests(alice.server, CERTIFICATES)


def test_known_hosts_are_installed_once_and_for_the_projects_names_only(alice, sshd):
    known = alice.home / ".ssh/known_hosts"
    known.write_text("example.org ssh-ed25519 AAAA\n")
    alice.run("known-hosts", "--install", known)
    once = known.read_text()
    alice.run("known-hosts", "--install", known)
    assert once == known.read_text()
    assert once.startswith("example.org ssh-ed25519 AAAA\n# tatu test: begin\n")
    line = next(line for line in once.splitlines() if line.startswith("@cert-authority"))
    assert {"db-1", "db", ADDRESS} <= set(line.split()[1].split(","))
    assert "*" not in line


def test_where_the_revocations_are_is_said_however_known_hosts_are_used(alice, sshd):
    needed = f'RevokedHostKeys "{alice.state}/revoked_host_keys"'
    printed = alice.run("known-hosts")
    assert needed in printed.stderr
    assert needed not in printed.stdout
    assert needed in alice.run("known-hosts", "--install").stderr


def test_an_administrator_gives_and_takes_what_others_may(alice, folder, server):
    key = make_key(folder / "bob")
    alice.run("user", "create", "bob", "--id", "u-bob")
    alice.run("user", "key", "add", "bob", f"{key}.pub")
    alice.run("role", "add", "member", "--user", "bob", "--project", "blue")
    bob = Person(folder / "bobs-home", server)
    bob.login(key, user="bob")
    assert bob.json("usercert", "create")["principals"] == ["member"]
    bob.run("user", "list", status=4)
    (listed,) = alice.json("usercert", "list", "--user", "bob")
    for whose in ("bob", "u-bob"):
        assert bob.json("usercert", "list", "--user", whose) == [listed]
    for person in (alice, bob):
        refused = person.run("usercert", "list", "--user", "b\u00f6b", status=1)
        assert "there is no user with id or name 'b\u00f6b'" in refused.stderr
    revoked = alice.json("usercert", "revoke", "--user", "bob", "--no-block")
    assert revoked["revoked"] == [str(listed["serial"])]
    bob.run("ca", "show")
    alice.run("role", "remove", "member", "--user", "bob", "--project", "blue")
    alice.run("group", "create", "crew")
    alice.run("group", "member", "add", "crew", "bob")
    alice.run("role", "add", "member", "--group", "crew", "--project", "blue")
    assert [found["name"] for found in alice.json("group", "member", "list", "crew")] == ["bob"]
    bob.login(key, user="bob")
    bob.run("usercert", "create")
    fingerprint = alice.json("user", "key", "list", "bob")[0]["fingerprint"]
    alice.run("user", "key", "remove", "bob", fingerprint)
    alice.run("user", "set", "bob", "--disable")
    assert alice.json("user", "show", "bob")["enabled"] is False
    bob.run("usercert", "create", status=3)
    alice.run("user", "delete", "bob")
    alice.run("group", "delete", "crew")


def test_projects_and_roles_come_and_go(alice):
    alice.run("project", "create", "green")
    alice.run("project", "set", "green", "--disable")
    assert alice.json("project", "show", "green")["enabled"] is False
    alice.run("project", "delete", "green")
    alice.run("role", "create", "deploy")
    assert alice.json("role", "show", "deploy")["account"] == "deploy"
    alice.run("role", "delete", "deploy")
    names = [found["role"] for found in alice.json("assignment", "list", "--user", "alice")]
    assert sorted(names) == ["admin", "manager", "member"]


def test_a_host_is_shown_and_ended(alice):
    alice.run("token", "create", "web-1", "--name", "web", "--validity", "30m")
    assert alice.json("host", "show", "web-1")["state"] == "admitted"
    alice.run("host", "delete", "web-1")
    alice.run("host", "show", "web-1", status=1)


def test_host_certificates_are_listed_and_shown(alice, sshd):
    listed = alice.json("hostcert", "list", "--host", "db-1", "--live")
    assert "db-1" in listed[0]["principals"]
    assert alice.json("hostcert", "show", listed[0]["serial"])["host"] == "db-1"


def test_errors_are_one_line_with_the_requests_id(alice):
    result = alice.run("usercert", "show", "999999", status=1)
    assert re.fullmatch(r".*\(request [\w-]+\)\n", result.stderr)


def test_exit_statuses_say_what_kind_of_error_it_was(person, alice):
    other = Person(person.home / "other", person.server)
    other.run("whoami", status=3)
    other.run("usercert", "show", "no-number", status=2)
    config = alice.home / ".config/tatu/clouds.yaml"
    config.write_text(config.read_text().replace(alice.server.url, "http://127.0.0.1:9"))
    alice.run("whoami", status=5)


def test_a_login_that_replaces_a_saved_cloud_says_so(alice, admin_key):
    assert alice.login(admin_key).stderr == ""
    replaced = alice.run("login", "--cloud", "test", "--url", alice.server.url, "--user", "u-root")
    assert "this replaces the saved cloud test (alice at " in replaced.stderr
    assert "--cloud NAME" in replaced.stderr


def test_the_project_of_a_new_authority_may_stand_alone(alice):
    alice.run("project", "create", "green", "--id", "p-green")
    assert alice.json("ca", "create", "p-green")["id"] == "p-green"
    assert alice.json("ca", "show", "green")["id"] == "p-green"
    assert {found["id"] for found in alice.json("ca", "list", "--all-projects")} > {"p-green"}
    for noun in ("ca", "host", "usercert", "hostcert"):
        mine, others, everything = (
            [found.get("id", found.get("serial")) for found in alice.json(noun, "list", *which)]
            for which in ([], ["--project", "green"], ["--all-projects"])
        )
        assert sorted(map(str, everything)) == sorted(map(str, mine + others))
    alice.run("ca", "create", "p-green", "--project", "p-green", status=2)


def test_the_limits_of_an_authority_are_changed_and_the_others_stay(alice):
    alice.run("project", "create", "teal", "--id", "p-teal")
    before = alice.json("ca", "create", "p-teal")
    alice.run("ca", "set", "teal", "--pam-sudo", "--user-validity", "2h")
    found = alice.json("ca", "show", "teal")
    changed = {name for name in found if found[name] != before[name]}
    assert changed == {"pam_sudo", "user_validity", "revision"}
    alice.run("ca", "set", "teal", "--user-validity", "1000d", status=1)
    assert alice.json("ca", "show", "teal") == found


def test_a_cloud_that_is_not_named_is_the_last_one_signed_in_to(alice, admin_key):
    alice.run(
        "login", "--cloud", "second", "--url", alice.server.url, "--user", "alice",
        "--project", "blue", "--key", admin_key,
    )  # fmt: skip
    assert alice.json("whoami")["cloud"] == "second"
    assert alice.json("--cloud", "test", "whoami")["cloud"] == "test"
    assert alice.json("whoami", "--cloud", "test")["cloud"] == "test"
    alice.environment["TATU_CLOUD"] = "test"
    assert alice.json("whoami")["cloud"] == "test"


def test_completion_knows_the_commands(alice):
    script = alice.run("complete").stdout
    assert "usercert" in script
