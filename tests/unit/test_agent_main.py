"""What the agent's command makes of its words."""

from types import SimpleNamespace

import pytest

from tatu.agent import main, platform, unit
from tatu.agent.errors import AgentError
from tests.fakes.tls import make_certificate


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
        "--insecure-http",
        "--platform",
    ],
)
def test_setup_has_the_agent_run_with_its_own_options(option, written):
    assert written(option) == option


def test_what_is_not_given_is_not_passed_on(written):
    assert written() == ""


def test_files_are_named_as_they_are_from_every_folder(written, monkeypatch, tmp_path):
    certificate, _ = make_certificate(tmp_path)
    (tmp_path / "newest.pem").symlink_to(certificate)
    monkeypatch.chdir(tmp_path)
    assert written("--ca-file=newest.pem") == f"--ca-file={tmp_path}/newest.pem"


@pytest.mark.parametrize("text", [None, "no PEM"])
@pytest.mark.parametrize("command", ["enrol", "setup"])
def test_a_file_of_authorities_that_is_no_use_is_refused_at_once(command, text, tmp_path, capsys):
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    assert main.main([command, "--root", str(tmp_path), f"--ca-file={file}"]) == 1
    assert f"cannot read {file}" in capsys.readouterr().err


def test_an_enrolment_names_its_authorities_as_they_are_from_every_folder(monkeypatch, tmp_path):
    make_certificate(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "_invitation", lambda _: SimpleNamespace(url="https://tatu.test"))
    asked = []
    monkeypatch.setattr(main, "enrol", lambda *words: asked.append(words[3].ca_file) or [])
    assert main.main(["enrol", "--root", str(tmp_path), "--ca-file", "cert.pem"]) == 0
    assert asked == [f"{tmp_path}/cert.pem"]


def test_a_unit_that_would_run_nothing_is_not_set_up(tmp_path, capsys):
    assert main.main(["setup", "--root", str(tmp_path)]) == 1
    assert "there is no " in capsys.readouterr().err
    assert not (tmp_path / "etc/systemd/system" / unit.NAME).exists()


@pytest.fixture
def booted(tmp_path, monkeypatch, written):
    """Run `setup --platform` where systemd runs; return what was done, in order."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    done = []
    monkeypatch.setattr(unit, "run", lambda words: done.append(" ".join(words[1:])))

    def setup(enrol):
        monkeypatch.setattr(platform.Enrolment, "__call__", lambda _: enrol(done))
        assert written("--platform") == "--platform"
        return done

    return setup


START = ["daemon-reload", f"restart --no-block {unit.NAME}"]


def test_an_instance_enrols_before_its_service_starts_which_is_there_after_a_power_cut(booted):
    def enrol(done):
        done.append("enrolled")
        return ["enrolled as db-1"]

    assert booted(enrol) == [f"--no-reload enable {unit.NAME}", "enrolled", *START]


def test_the_service_goes_on_trying_where_the_first_attempt_fails(booted, capsys):
    def enrol(_):
        raise AgentError("cannot reach Tatu")

    assert booted(enrol)[1:] == START
    assert (
        "warning: not enrolled yet, and tried again: cannot reach Tatu" in capsys.readouterr().err
    )


def test_the_service_starts_whatever_the_first_attempt_comes_to(booted, monkeypatch):
    done = []
    monkeypatch.setattr(unit, "start", done.append)

    def enrol(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        booted(enrol)
    assert done
