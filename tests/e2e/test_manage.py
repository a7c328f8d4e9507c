"""`tatu-manage` as an operator runs it: its own process, on SQLite."""

import getpass
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tatu.bootstrap import build, open_ledger
from tatu.config import load
from tatu.core.audit import SYSTEM, Event
from tatu.manage.main import main
from tatu.ports import Held

CONF = """\
[DEFAULT]
api_endpoint = http://127.0.0.1:8322
[database]
connection = sqlite:///{folder}/tatu.db
[state]
directory = {folder}/state
[keystore_local]
kek_file = {folder}/kek
"""


class Operator:
    """A folder with a configuration, and the command line."""

    def __init__(self, folder, capsys):
        self.folder = folder
        self.config = folder / "tatu.conf"
        self.config.write_text(CONF.format(folder=folder))
        self._capsys = capsys

    def manage(self, *words, code=0):
        """Run a command in this process; return what it printed, and what on stderr."""
        self._capsys.readouterr()
        assert main(["--config-file", str(self.config), *map(str, words)]) == code
        printed = self._capsys.readouterr()
        assert "Traceback" not in printed.err
        assert printed.err.count("\n") == (1 if printed.err else 0)
        return printed.out + printed.err

    def key(self, name):
        path = self.folder / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path]
        subprocess.run(command, check=True)
        return path.with_suffix(".pub")

    def bootstrap(self, key, *, admin="ann", project="blue", code=0):
        words = ("--admin", admin, "--project", project, "--key", key)
        return self.manage("bootstrap", *words, code=code)

    def opened(self):
        config = load(["--config-file", str(self.config)])
        ledger = open_ledger(config)
        return ledger, build(config, ledger)


@pytest.fixture
def empty(tmp_path, capsys):
    return Operator(tmp_path, capsys)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    config = folder / "tatu.conf"
    config.write_text(CONF.format(folder=folder))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "a"], check=True)
    for words in (
        ("keystore", "new-key", str(folder / "kek")),
        ("db", "sync"),
        ("bootstrap", "--admin", "ann", "--project", "blue", "--key", str(folder / "a.pub")),
    ):
        assert main(["--config-file", str(config), *words]) == 0
    return folder


@pytest.fixture
def operator(template, tmp_path, capsys):
    """A deployment with an administrator and an authority."""
    folder = tmp_path / "deployment"
    shutil.copytree(template, folder)
    return Operator(folder, capsys)


def test_three_commands_make_a_deployment_with_an_administrator(empty):
    empty.manage("keystore", "new-key", empty.folder / "kek")
    assert "revision" in empty.manage("db", "sync")
    key = empty.key("admin")
    told = empty.bootstrap(key)
    for made in ("role admin", "role reader", "project blue", "user ann", "authority blue"):
        assert f"made {made}\n" in told
    ledger, application = empty.opened()
    directory = ledger.directory
    project, user = directory.project("blue"), directory.user("ann")
    roles = directory.effective_roles(user.id, project.id)
    assert {role.name for role in roles} == {"admin"}
    assert [found.public_key.line for found in directory.keys(user.id)] == [
        " ".join(key.read_text().split()[:2])
    ]
    assert len(application.authorities.show(project.id).keys) == 3
    ledger.close()


def test_what_bootstrap_makes_is_in_the_chain_under_the_operators_name(operator):
    events = [
        json.loads(line)["body"] for line in operator.manage("audit", "export", "-").splitlines()
    ]
    made = {event["action"]: event["actor"] for event in events}
    actions = (
        "project.created",
        "user.created",
        "user.key-added",
        "role.created",
        "role.assigned",
    )
    for action in (*actions, "authority.created"):
        assert (made[action]["issuer"], made[action]["name"]) == ("operator", getpass.getuser())


def test_bootstrap_again_changes_nothing(operator):
    key = operator.folder / "a.pub"
    assert operator.bootstrap(key) == ""


def test_bootstrap_adds_what_is_missing(operator):
    told = operator.bootstrap(operator.key("second"))
    assert told.startswith("made key SHA256:")
    assert told.count("\n") == 1


def test_bootstrap_refuses_somebody_elses_key(operator):
    told = operator.bootstrap(operator.folder / "a.pub", admin="eve", code=1)
    assert "the key is somebody's already" in told


def test_bootstrap_refuses_a_key_of_an_authority(operator):
    ledger, application = operator.opened()
    authority = application.authorities.show(ledger.directory.project("blue").id)
    ledger.close()
    (operator.folder / "ca.pub").write_text(authority.keys[0].public_key.line)
    assert "authority key already" in operator.bootstrap(operator.folder / "ca.pub", code=1)


def test_bootstrap_refuses_what_is_no_public_key(operator):
    assert "private key" in operator.bootstrap(operator.folder / "a", code=2)
    assert "no public key" in operator.bootstrap(operator.folder / "absent", code=2)


def test_without_tables_every_command_says_what_to_run(empty):
    empty.manage("keystore", "new-key", empty.folder / "kek")
    for words in (("check",), ("db", "check"), ("keystore", "rewrap"), ("audit", "verify")):
        assert "tatu-manage db sync" in empty.manage(*words, code=1)
    assert "revision none" in empty.manage("db", "version", code=1)


def test_without_a_kek_the_error_names_the_file(empty):
    empty.manage("db", "sync")
    assert f"{empty.folder}/kek cannot be opened" in empty.manage("check", code=1)


def test_an_unknown_option_is_exit_code_2(operator):
    with operator.config.open("a") as file:
        file.write("[api]\nbind_prot = 1\n")
    assert "no option 'bind_prot'" in operator.manage("check", code=2)


def test_the_ledger_is_a_file_that_only_its_user_can_read(operator):
    assert (operator.folder / "tatu.db").stat().st_mode & 0o777 == 0o600
    assert (operator.folder / "kek").stat().st_mode & 0o777 == 0o600


def test_check_names_every_driver_and_what_fails(operator):
    told = operator.manage("check")
    drivers = ("keystore (local)", "identity (local)", "inventory (none)", "events (none)")
    for part in ("ledger", *drivers, "audit key"):
        assert f"{part:<14} ok" in told
    (operator.folder / "kek").write_text("A" * 43 + "=\n")
    told = operator.manage("check", code=1)
    assert "keystore (local) FAILED: the key-encryption key" in told
    assert "identity (local) ok" in told


def test_check_of_standbys_is_for_postgresql(operator):
    text = operator.config.read_text()
    operator.config.write_text(
        text.replace("[database]", "[database]\nsynchronous_standbys = second")
    )
    assert "standbys       FAILED" in operator.manage("check", code=1)


def test_the_kek_rotates(operator):
    kek = operator.folder / "kek"
    old = kek.read_text()
    assert "rewrap" in operator.manage("keystore", "new-key", kek)
    assert kek.read_text().splitlines()[1:] == old.splitlines()
    assert "0 cannot be opened" in operator.manage("keystore", "check")
    operator.manage("keystore", "rewrap")
    assert "0 are under an older key" in operator.manage("keystore", "check")
    kek.write_text(kek.read_text().splitlines()[0] + "\n")
    assert "0 cannot be opened" in operator.manage("keystore", "check")
    kek.write_text(old)
    assert "cannot be opened" in operator.manage("keystore", "check", code=1)


def test_a_kek_file_that_others_can_read_is_not_extended(operator):
    (operator.folder / "kek").chmod(0o644)
    told = operator.manage("keystore", "new-key", operator.folder / "kek", code=1)
    assert "chmod 600" in told


def test_no_command_prints_a_secret(operator):
    secret = (operator.folder / "kek").read_text().strip()
    told = "".join(
        operator.manage(*words)
        for words in (
            ("check",),
            ("keystore", "check"),
            ("keystore", "new-key", operator.folder / "kek"),
            ("audit", "export", "-"),
            ("authority", "show", "blue"),
        )
    )
    assert secret not in told
    assert "PRIVATE" not in told


def test_an_authority_key_rotates_and_the_old_one_is_revoked(operator):
    first = operator.manage("authority", "show", "blue")
    assert "next" not in first
    assert "next" in operator.manage("authority", "rotate", "blue", "user")
    early = operator.manage("authority", "rotate", "blue", "user", code=1)
    assert "hosts and clients must learn of this user key first" in early
    second = operator.manage("authority", "rotate", "--at-once", "blue", "user")
    retired = next(line.split()[-1] for line in second.splitlines() if "retired" in line)
    assert retired in first
    assert "revoked" in operator.manage("authority", "revoke-key", "blue", retired)
    assert "make it active first" in operator.manage(
        "authority",
        "revoke-key",
        "blue",
        next(line.split()[-1] for line in second.splitlines() if "user      active" in line),
        code=1,
    )


def test_the_audit_chain_is_verified_against_what_was_kept(operator):
    folder = operator.folder
    operator.manage("audit", "checkpoint", folder / "checkpoint")
    operator.manage("audit", "export", folder / "export")
    operator.bootstrap(operator.key("more"))
    kept = ("--copy", folder / "export", "--checkpoint", folder / "checkpoint")
    assert "the chain is whole" in operator.manage("audit", "verify", *kept)
    assert "the chain is whole" in operator.manage(
        "audit", "verify", "--copy", folder / "state" / "audit.jsonl"
    )
    assert "File exists" in operator.manage("audit", "export", folder / "export", code=1)


def test_a_rewritten_chain_is_noticed(operator):
    folder = operator.folder
    with sqlite3.connect(folder / "tatu.db") as database:
        database.execute(
            "UPDATE audit SET body = replace(body, 'blue', 'blau') WHERE sequence = 5"
        )
    database.close()
    assert "broken at event 5" in operator.manage("audit", "verify", code=1)


def test_a_chain_that_was_cut_is_noticed_by_a_checkpoint(operator):
    folder = operator.folder
    shutil.copy(folder / "tatu.db", folder / "old.db")
    shutil.copytree(folder / "state", folder / "old-state")
    operator.bootstrap(operator.key("more"))
    operator.manage("audit", "checkpoint", folder / "checkpoint")
    for left in folder.glob("tatu.db-*"):
        left.unlink()
    shutil.copy(folder / "old.db", folder / "tatu.db")
    shutil.rmtree(folder / "state")
    shutil.copytree(folder / "old-state", folder / "state")
    told = operator.manage("audit", "verify", "--checkpoint", folder / "checkpoint", code=1)
    assert "rewritten, or cut" in told


def test_a_forged_checkpoint_is_refused(operator):
    path = operator.folder / "checkpoint"
    operator.manage("audit", "checkpoint", path)
    facts = json.loads(path.read_text())
    facts["checkpoint"]["sequence"] -= 1
    path.write_text(json.dumps(facts))
    assert "does not verify" in operator.manage("audit", "verify", "--checkpoint", path, code=1)
    path.write_text("{}")
    assert "no checkpoint" in operator.manage("audit", "verify", "--checkpoint", path, code=2)


def test_a_checkpoint_of_another_deployment_is_refused(operator, empty):
    empty.manage("keystore", "new-key", empty.folder / "kek")
    empty.manage("db", "sync")
    empty.manage("audit", "checkpoint", empty.folder / "checkpoint")
    told = operator.manage("audit", "verify", "--checkpoint", empty.folder / "checkpoint", code=1)
    assert "not signed by the audit key" in told


def test_a_backup_is_a_ledger_of_its_own_and_overwrites_nothing(operator):
    copy = operator.folder / "backup.db"
    operator.manage("db", "backup", copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "there already" in operator.manage("db", "backup", copy, code=1)
    with sqlite3.connect(copy) as database:
        (count,) = database.execute("SELECT count(*) FROM authorities").fetchone()
    database.close()
    assert count == 1


def test_a_restored_database_signs_again_after_restored(operator):
    copy = operator.folder / "backup.db"
    operator.manage("db", "backup", copy)
    operator.bootstrap(operator.key("more"))
    for left in operator.folder.glob("tatu.db-*"):
        left.unlink()
    shutil.copy(copy, operator.folder / "tatu.db")
    assert "tatu-manage db restored" in operator.manage("db", "check", code=1)
    operator.manage("db", "restored")
    operator.manage("db", "check")
    assert "the chain is whole" in operator.manage("audit", "verify")


def test_restored_is_refused_while_the_api_runs(operator):
    ledger = open_ledger(load(["--config-file", str(operator.config)]), exclusive=True)
    assert "another tatu-api" in operator.manage("db", "restored", code=1)
    ledger.close()


def test_wrong_words_are_exit_code_2_and_usage():
    for words in ((), ("nothing",), ("db",), ("db", "nothing"), ("authority", "rotate", "x", "y")):
        with pytest.raises(SystemExit) as raised:
            main(words)
        assert raised.value.code == 2


def test_help_and_version_come_from_the_installed_command(tmp_path):
    command = Path(sys.executable).with_name("tatu-manage")
    for word, found in (("--help", "exit codes"), ("--version", "tatu-manage 0.")):
        done = subprocess.run(
            [command, word], check=True, capture_output=True, text=True, env=dict(os.environ)
        )
        assert found in done.stdout


# --- what the cloud's notices missed


def test_an_operator_compares_and_handles_what_the_brake_holds(operator):
    assert operator.manage("reconcile", "--dry-run").startswith("compared in ")
    ledger, application = operator.opened()
    held = [
        Held(authority=authority.id, kind="user", value=name, since=application.clock())
        for authority in application.authorities.list(only=None, limit=1, marker=None).items
        for name in ("u1", "u2", "u3")
    ]
    told = Event(
        action="brake.held",
        actor=SYSTEM,
        authority=None,
        subject="brake",
        at=application.clock(),
        facts={},
    )
    ledger.holds.hold(held, told)
    ledger.close()
    place = held[0].authority

    listed = operator.manage("brake", "list").splitlines()
    assert listed[-1] == "3 held"
    assert listed[0].split()[1:] == [place, "user", "u1"]
    assert operator.manage("brake", "release", "--authority", "other") == "0 released\n"
    assert operator.manage("brake", "list", "--authority", place).endswith("3 held\n")
    # nobody holds a certificate: what is held is none, and compared so
    assert "to be released: 3" in operator.manage("reconcile", "--dry-run")
    assert operator.manage("brake", "apply", "--authority", place) == (
        "3 applied, 0 certificates revoked\n"
    )
    assert operator.manage("brake", "list") == "0 held\n"
    assert operator.manage("reconcile").startswith("compared in ")
