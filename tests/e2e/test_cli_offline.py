"""What the command line does without any server."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cli_lab import TATU

VECTORS = Path(__file__).parent.parent / "vectors" / "certificates"


def run(tmp_path, *arguments, status=0):
    result = subprocess.run(
        [TATU, *map(str, arguments)],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, (result.stdout, result.stderr)
    return result


def test_help_names_every_command_but_the_hidden(tmp_path):
    shown = run(tmp_path, "--help").stdout
    for command in ("login", "usercert create", "user key add", "ssh-config", "cert lint"):
        assert f"  {command} " in shown
    assert "ssh-config refresh" not in shown
    assert run(tmp_path).stdout == shown
    assert run(tmp_path, "help").stdout == shown


@pytest.mark.parametrize("arguments", [("ca", "show", "--help"), ("help", "ca", "show")])
def test_a_command_explains_itself(tmp_path, arguments):
    shown = run(tmp_path, *arguments).stdout
    assert "usage: tatu ca show" in shown
    assert "its limits and its keys" in shown


def test_completion_is_a_script_that_bash_reads(tmp_path):
    script = run(tmp_path, "complete").stdout
    (tmp_path / "complete").write_text(script)
    subprocess.run(["bash", "-n", tmp_path / "complete"], check=True)
    assert "cmds_usercert='create list revoke show'" in script
    assert "cmds_block='clear list'" in script
    assert "--principal" in script


def certificate(tmp_path, name):
    text = json.loads((VECTORS / f"{name}.json").read_text())["certificate"]
    (tmp_path / "file").write_text(text)
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("name", "code"),
    [("no-principals", "no-principals"), ("forever", "no-end"), ("root", "reserved-principal")],
)
def test_findings_are_listed_and_end_with_1(tmp_path, name, code):
    found = run(tmp_path, "cert", "lint", certificate(tmp_path, name), "-f", "json", status=1)
    assert code in [finding["code"] for finding in json.loads(found.stdout)]


def test_what_is_no_certificate_is_a_finding(tmp_path):
    (tmp_path / "file").write_text("ssh-ed25519 AAAA")
    assert "malformed" in run(tmp_path, "cert", "lint", tmp_path / "file", status=1).stdout


def test_a_certificate_with_nothing_wrong_is_said_to_be_so(tmp_path):
    result = run(
        tmp_path, "cert", "lint", certificate(tmp_path, "user"),
        "--max-user-validity", "9999d",
    )  # fmt: skip
    assert "nothing is wrong" in result.stderr
    assert result.stdout.strip() == ""


def test_help_for_login_names_the_option_for_several_clouds(tmp_path):
    assert "--cloud NAME" in " ".join(run(tmp_path, "help", "login").stdout.split())


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    result = run(tmp_path, "cert", "lint", tmp_path / "absent", status=1)
    assert result.stderr == f"cannot read {tmp_path}/absent: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("whoami",), 3, "tatu login"),
        (("ssh", "root@db"), 3, "tatu login"),
        (("ssh-config", "refresh", "--cloud", "x"), 3, "'x'"),
        (("usercert", "create", "--validity", "soon"), 2, "no duration"),
        (("usercert", "revoke"), 2, "required"),
        (("no-such", "command"), 2, ""),
        (("login", "--url", "https://tatu.example"), 1, "--user"),
        (("login", "--url", "127.0.0.1:18444"), 1, "must begin with http:// or https://"),
        (("login", "--url", "localhost:18444"), 1, "must begin with http:// or https://"),
        (("login", "--url", "http://a.example", "--user", "u", "--project", "p", "--key", "k"), 1, "https"),
        (("--cloud", "../x", "whoami"), 3, "../x"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do_and_end_as_documented(tmp_path, arguments, status, text):
    assert text in run(tmp_path, *arguments, status=status).stderr
