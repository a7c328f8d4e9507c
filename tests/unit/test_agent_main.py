"""What the agent's command makes of its words."""

from pathlib import Path

import pytest

from tatu.agent import main, unit


@pytest.fixture
def written(tmp_path):
    """Run `setup` with options; return the words that systemd runs the agent by."""
    program = tmp_path / "usr/lib/tatu-agent/tatu-agent"
    program.parent.mkdir(parents=True)
    program.touch()

    def setup(*options):
        assert main.main(["setup", "--root", str(tmp_path), *options]) == 0
        text = (tmp_path / "etc/systemd/system" / unit.NAME).read_text()
        [line] = (line for line in text.splitlines() if line.startswith("ExecStart="))
        root = f"--root={tmp_path}"
        return line.partition(" run ")[2].replace(root, "").strip()

    return setup


@pytest.mark.parametrize(
    "option",
    [
        "--group=people",
        "--sshd=/opt/sshd",
        "--sshd-config=/opt/sshd_config",
        "--reload-command=reload-sshd",
        "--ca-file=/etc/ca.pem",
        "--insecure-http",
        "--platform",
    ],
)
def test_setup_has_the_agent_run_with_its_own_options(option, written):
    assert written(option) == option


def test_what_is_not_given_is_not_passed_on(written):
    assert written() == ""


def test_files_are_named_as_they_are_from_every_folder(written, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert written("--ca-file=ca.pem") == f"--ca-file={Path(tmp_path).resolve()}/ca.pem"


def test_a_unit_that_would_run_nothing_is_not_set_up(tmp_path, capsys):
    assert main.main(["setup", "--root", str(tmp_path)]) == 1
    assert "there is no " in capsys.readouterr().err
    assert not (tmp_path / "etc/systemd/system" / unit.NAME).exists()
