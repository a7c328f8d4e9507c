"""README's commands, run as they stand, and the demonstration that it promises."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from demo.machine import Machine, account, free_port
from demo.serve import COMMANDS, PORT

from tests.lab.server import wait_until

ROOT = Path(__file__).parents[2]
AGENT = """\
#!/bin/sh -eu
exec {root}/build/tatu-agent "$@" --root {folder} --reload-command "pkill -HUP -F {folder}/sshd.pid"
"""

pytestmark = pytest.mark.slow


def first_login():
    """Return the commands of the first login, as they stand."""
    text = (ROOT / "README.md").read_text().partition("## First login")[2]
    return re.search(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def served(tmp_path):
    """What `make serve` runs, in a folder of its own."""
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo.serve"],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=tmp_path,
            start_new_session=True,
        )
    machine = Machine(folder=tmp_path / ".cache/serve", api_port=port)

    def is_ready():
        assert process.poll() is None, (tmp_path / "serve.log").read_text()
        curl = ["curl", "--silent", "--fail", f"{machine.url}/readyz"]
        return subprocess.run(curl, capture_output=True, check=False).returncode == 0

    try:
        wait_until(is_ready)
        yield machine
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def test_the_first_login_of_the_readme_works(served, tmp_path):
    commands = [re.sub(r"\s+#.*", "", line) for line in first_login().splitlines()]
    assert len(commands) == 9
    programs = tmp_path / "bin"
    programs.mkdir()
    stubs = {
        "sudo": '#!/bin/sh -eu\nexec "$@"\n',
        "tatu-agent": AGENT.format(root=ROOT, folder=served.folder),
    }
    for name, text in stubs.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = dict(served.environment())
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    port = free_port()

    def run(command, text=""):
        command = command.replace("8322", str(served.api_port)).replace("192.0.2.10", "127.0.0.1")
        # the package holds the same file, and would be this machine's
        command = command.replace("make deb", f"make -s -C {ROOT} deb agent")
        # the accounts of this machine are not the host's, and its sshd has no port 22
        command = command.replace(
            "admin@web-1",
            f"{account()}@web-1 -- -F none -o BatchMode=yes -o HostName=127.0.0.1 -p {port} echo in",
        )
        done = subprocess.run(
            ["sh", "-euc", command],
            input=text,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    said = ""
    with served.sshd(port, "admin"):
        for command in commands:
            said = run(command, said if "--token-file -" in command else "")
            if command.startswith("tatu token create"):
                said = re.search(r"tatu-enrol-1\.\S+", said)[0]
            if command.startswith("tatu ssh"):
                assert said == "in\n"


def test_the_development_server_prints_the_commands_of_the_readme():
    written = COMMANDS.format(
        bin="$PWD/.venv/bin",
        url=f"http://127.0.0.1:{PORT}",
        user="admin",
        project="demo",
        key=".cache/serve/admin_key",
    )
    assert first_login() == written


def test_the_development_server_promises_nothing_on_a_port_that_is_taken(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "demo.serve"],
            env={**os.environ, "PORT": str(port), "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port}" in done.stderr
    assert "make serve PORT=" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_demonstration_comes_to_its_end():
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Try to log in again: sshd refuses .* s$", done.stdout, re.MULTILINE)
    assert re.search(r"^Done in [0-9.]+ s\.$", done.stdout, re.MULTILINE)
