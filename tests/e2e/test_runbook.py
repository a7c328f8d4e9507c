"""The runbooks in docs/operations: each block of commands is run as it stands, and does what it says."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tatu.core import breakglass, statement
from tatu.core.certificate import Certificate
from tatu.core.keys import PublicKey
from tatu.core.statement import BreakGlass
from tests.api.keys import ClientKey
from tests.lab import databases
from tests.lab.server import PROJECT, Process, free_port, wait_until

DOCS = Path(__file__).parents[2] / "docs/operations"
FOLDERS = {"/etc/tatu": "etc", "/var/lib/tatu": "lib", "/var/backups/tatu": "backups"}

# What a machine has and a test has not: a service manager, and Tatu's commands as the service's user.
SYSTEMCTL = """\
#!/bin/sh -eu
for last; do :; done
test "$last" = tatu-api
stop() {
  test -s {folder}/pid || return 0
  kill "$(cat {folder}/pid)"
  while kill -0 "$(cat {folder}/pid)" 2> /dev/null; do sleep 0.05; done
  : > {folder}/pid
}
start() {
  setsid {bin}/tatu-api --config-file {folder}/etc/tatu.conf >> {folder}/api.log 2>&1 < /dev/null &
  echo $! > {folder}/pid
}
case "$1" in
start | enable) start ;;
stop) stop ;;
restart) stop; start ;;
reload) kill -HUP "$(cat {folder}/pid)" ;;
*) exit 1 ;;
esac
"""
COMMAND = """\
#!/bin/sh -eu
exec {bin}/$(basename "$0") --config-file {folder}/etc/tatu.conf "$@"
"""


def blocks(name, variant):
    """Return the blocks of a runbook: those for every database, and those for this one."""
    text = (DOCS / f"{name}.md").read_text()
    found = re.findall(r"^```sh *(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [commands for tag, commands in found if tag in ("", variant)]


def _mariadb_options(database):
    """Return the options of MariaDB's clients for a database."""
    parts = urlsplit(database or "")
    return (
        f"--protocol=tcp --host={parts.hostname} --port={parts.port} --user={parts.username}"
        f" {parts.path[1:]}"
    )


class Operator:
    """Somebody with a machine in a folder, who does what the runbooks say."""

    def __init__(self, folder, database=None):
        self.folder = folder
        self.port = free_port()
        self.environment = {
            "PATH": f"{folder}/bin:/usr/sbin:{os.defpath}",
            "LC_ALL": "C.UTF-8",
            "CREDENTIALS_DIRECTORY": f"{folder}/etc",
            "DATABASE": database or "",
            "MARIADB": _mariadb_options(database),
        }
        self.database = database
        for name in (*FOLDERS.values(), "bin"):
            (folder / name).mkdir(mode=0o700)
        for name, text in (
            ("systemctl", SYSTEMCTL),
            ("tatu-manage", COMMAND),
            ("tatu-status", COMMAND),
        ):
            script = folder / "bin" / name
            script.write_text(
                text.replace("{folder}", str(folder)).replace(
                    "{bin}", str(Path(sys.executable).parent)
                )
            )
            script.chmod(0o755)
        self.sign_in_key = ClientKey()
        (folder / "etc/alice.pub").write_text(self.sign_in_key.line + "\n")
        self.do("install")

    def do(self, name, only=None):
        """Run the blocks of a runbook, or some of them, one after the other."""
        variant = self.database.partition(":")[0] if self.database else "sqlite"
        chosen = blocks(name, variant)
        return "".join(
            self.shell(block) for block in chosen[slice(*only) if only else slice(None)]
        )

    def shell(self, commands, fails=False):
        for real, ours in FOLDERS.items():
            commands = commands.replace(real, str(self.folder / ours))
        commands = commands.replace("8322", str(self.port))
        if self.database:
            commands = re.sub(
                r"^connection = .*$", f"connection = {self.database}", commands, flags=re.MULTILINE
            )
        commands = commands.replace("demo", PROJECT)
        done = subprocess.run(
            ["sh", "-eu"],
            input=commands,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        log = self.folder / "api.log"
        assert (done.returncode != 0) is fails, (
            commands + done.stdout + done.stderr + (log.read_text() if log.exists() else "")
        )
        return done.stdout + done.stderr

    @property
    def api(self):
        return Api(self.port)

    def caller(self):
        return self.api.sign_in(self)

    def stop(self):
        self.shell("systemctl stop tatu-api")


class Api(Process):
    """The running API, as its callers see it."""

    def __init__(self, port):
        self.port = port


def serial_of(answer):
    status, certificate = answer
    assert status == 201, certificate
    return certificate["serial"]


def signer_of(answer):
    status, certificate = answer
    assert status == 201, certificate
    return Certificate.parse(certificate["certificate"]).contents.signature_key.fingerprint


@pytest.fixture
def operator(tmp_path):
    made = Operator(tmp_path)
    yield made
    made.stop()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def any_operator(request, tmp_path):
    if request.param == "sqlite":
        yield request.getfixturevalue("operator")
        return
    run = getattr(request.config, "workerinput", {}).get("testrunuid", str(os.getpid()))
    with getattr(databases, request.param)(run) as server, server.database() as url:
        made = Operator(tmp_path, url)
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.slow
def test_a_restored_ledger_goes_past_all_that_was_given_and_revoked(any_operator):
    operator = any_operator
    caller = operator.caller()
    before = serial_of(caller.issue(operator.api))
    operator.do("backup-and-restore", (0, 2))
    after = [serial_of(caller.issue(operator.api)) for _ in range(3)]
    for serial in (before, after[1]):
        assert caller.revoke(operator.api, serial)[0] == 200
    version = int.from_bytes(caller.krl(operator.api)[12:20], "big")
    operator.do("backup-and-restore", (2, 4))
    said = operator.shell(
        f"{sys.executable} -m tatu.serve --config-file /etc/tatu/tatu.conf", fails=True
    )
    assert "ledger rolled back" in said
    assert "tatu-manage db restored" in said
    operator.do("backup-and-restore", (4, None))
    caller = operator.caller()
    assert serial_of(caller.issue(operator.api)) > max(after)
    krl = caller.krl(operator.api)
    assert int.from_bytes(krl[12:20], "big") > version
    for serial, status in ((before, "revoked"), (after[0], "valid"), (after[1], "revoked")):
        path = f"/v2/authorities/{caller.authority}/certificates/{serial}/status"
        assert operator.api.ask("GET", path, token=caller.token)[1]["status"] == status
    assert json.loads((operator.folder / "backups/checkpoint.json").read_text())["signature"]


@pytest.mark.slow
def test_the_key_encryption_key_is_changed(operator):
    old = (operator.folder / "etc/kek").read_text()
    said = operator.do("keys", (0, 2))
    assert ": 0 cannot be opened, 0 are under an older key" in said
    assert old not in (operator.folder / "etc/kek").read_text()
    wait_until(operator.api._is_ready)
    serial_of(operator.caller().issue(operator.api))


@pytest.mark.slow
def test_a_key_of_an_authority_is_changed_and_then_stolen(operator):
    caller = operator.caller()
    first = signer_of(caller.issue(operator.api))
    said = operator.do("keys", (2, 3))
    assert re.search(rf"user +active +{re.escape(first)}", said)
    (second,) = set(re.findall(r"user +next +(SHA256:\S+)", said))
    assert signer_of(caller.issue(operator.api)) == first
    (early,) = blocks("keys", "sqlite")[3:4]
    assert "must learn of this user key first" in operator.shell(early, fails=True)
    said = operator.shell(early.replace(" rotate ", " rotate --at-once "))
    assert re.search(rf"user +retired +{re.escape(first)}", said)
    assert re.search(rf"user +active +{re.escape(second)}", said)
    assert signer_of(caller.issue(operator.api)) == second
    operator.environment["STOLEN"] = first
    said = operator.do("keys", (4, 5))
    assert re.search(rf"user +revoked +{re.escape(first)}", said)


@pytest.mark.slow
def test_a_lost_key_encryption_key_costs_new_keys_and_nothing_else(operator):
    caller = operator.caller()
    answer = caller.issue(operator.api)
    revoked, lost_key = serial_of(answer), signer_of(answer)
    assert caller.revoke(operator.api, revoked)[0] == 200
    operator.shell("systemctl stop tatu-api; mv /etc/tatu/kek /etc/tatu/away")
    serve = f"{sys.executable} -m tatu.serve --config-file /etc/tatu/tatu.conf"
    said = operator.shell(serve, fails=True)
    assert "the systemd credential 'kek' cannot be read: No such file or directory" in said
    operator.shell("tatu-manage keystore new-key /etc/tatu/kek")
    said = operator.shell(serve, fails=True)
    assert re.search(r"the key-encryption key [0-9a-f]{16} is not at hand", said)
    operator.do("keys", (5, None))
    caller = operator.caller()
    answer = caller.issue(operator.api)
    assert serial_of(answer) > revoked
    assert signer_of(answer) != lost_key
    path = f"/v2/authorities/{caller.authority}"
    shown = operator.api.ask("GET", f"{path}/certificates/{revoked}/status", token=caller.token)
    assert shown[1]["status"] == "revoked"
    stated = operator.api.ask("GET", f"{path}/statement")
    assert stated[0] == 200
    assert lost_key in operator.shell("tatu-manage authority show demo")  # hosts still trust it
    operator.shell("tatu-manage audit verify")


@pytest.mark.slow
def test_a_server_is_reloaded_stopped_and_brought_up_to_date(operator):
    serial = serial_of(operator.caller().issue(operator.api))
    said = operator.do("upgrade-and-stop")
    assert "revision" in said
    assert serial_of(operator.caller().issue(operator.api)) > serial


@pytest.mark.slow
def test_what_nothing_needs_is_removed_while_the_server_runs(operator):
    caller = operator.caller()
    serial = serial_of(caller.issue(operator.api))
    said = operator.do("retention")
    assert re.findall(r"publications: (.*)", said) == ["0 to remove", "0 removed", "0 removed"]
    assert "certificates: 0 removed" in said
    path = f"/v2/authorities/{caller.authority}/certificates/{serial}/status"
    assert operator.api.ask("GET", path, token=caller.token)[1]["status"] == "valid"
    operator.shell("tatu-manage check")
    said = operator.shell("tatu-manage db prune --older-than 1", fails=True)
    assert "48 hours" in said


def at_terminal(operator, commands, answer):
    """Run commands at a terminal, where somebody types this whenever a passphrase is asked for."""
    ours, theirs = pty.openpty()
    environment = {**operator.environment, "HOME": str(operator.folder)}
    for real, folder in FOLDERS.items():
        commands = commands.replace(real, str(operator.folder / folder))
    shell = ["setsid", "--ctty", "--wait", "sh", "-euc", commands]
    with subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # so a terminal ends
            while part := os.read(ours, 4096):
                said += part
                if re.search(rb"passphrase[^\n]*: $", said):
                    os.write(ours, answer + b"\n")
        os.close(ours)
    assert run.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.slow
def test_a_way_in_is_made_that_needs_nothing_of_tatu(operator):
    safe = operator.folder / "safe"
    safe.mkdir()
    operator.environment["SAFE"] = str(safe)
    create, configure, get_in, afterwards = blocks("break-glass", "sqlite")
    at_terminal(operator, create, b"correct horse")
    operator.shell(configure)
    wait_until(operator.api._is_ready)
    caller = operator.caller()
    answer = operator.api.ask("GET", f"/v2/authorities/{caller.authority}/statement")[1]
    stated = statement.decode(answer["statement"].encode())
    key = PublicKey.parse((safe / "break-glass.pub").read_text())
    assert stated.break_glass == BreakGlass(authorities=(key,), account="breakglass")
    operator.stop()
    assert "alice: INC-7" in at_terminal(operator, get_in, b"correct horse")
    breakglass.check(Certificate.parse((safe / "id-cert.pub").read_text()))
    operator.shell(afterwards)
    assert sorted(path.name for path in safe.iterdir()) == ["break-glass", "break-glass.pub"]


def test_every_block_of_the_runbooks_is_run_by_a_test():
    counts = {
        name: len(blocks(name, "sqlite"))
        for name in (
            "install",
            "backup-and-restore",
            "break-glass",
            "keys",
            "upgrade-and-stop",
            "retention",
        )
    }
    assert counts == {
        "install": 3,
        "backup-and-restore": 6,
        "break-glass": 4,
        "keys": 7,
        "upgrade-and-stop": 3,
        "retention": 2,
    }
