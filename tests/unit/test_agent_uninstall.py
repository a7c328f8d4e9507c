"""Whoever may not take the agent away leaves it running."""

import pytest

from tatu.agent import main, uninstall
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")
    found.systemd.mkdir(parents=True)
    unit = tmp_path / "etc/systemd/system/tatu-agent.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    return found


@pytest.fixture
def systemd(monkeypatch):
    """What systemctl is asked for, with `enabled` what it answers."""
    asked = []

    def run(words, codes=(0,)):
        assert words[0] == "systemctl"
        asked.append(" ".join(words[1:-1]))
        return b"enabled\n" if words[1] == "is-enabled" else b""

    monkeypatch.setattr(uninstall, "run", run)
    return asked


def refuse(_):
    raise AgentError("use another account")


def test_who_would_end_with_it_does_not_stop_the_agent(layout, systemd, monkeypatch, capsys):
    monkeypatch.setattr(uninstall, "_check_caller", refuse)
    assert main.main(["uninstall", "--root", str(layout.root)]) == 1
    assert "use another account" in capsys.readouterr().err
    assert systemd == []


@pytest.mark.parametrize("error", [AgentError, OSError, KeyboardInterrupt])
def test_what_could_not_be_taken_away_goes_on(layout, systemd, error):
    with pytest.raises(error), uninstall.stopped(layout):
        raise error
    assert systemd == ["is-enabled", "disable --now", "enable --now --no-block"]


def test_what_was_off_stays_off(layout, systemd, monkeypatch):
    run = uninstall.run
    monkeypatch.setattr(uninstall, "run", lambda *args, **more: run(*args, **more) and b"")
    with pytest.raises(AgentError), uninstall.stopped(layout):
        refuse(layout)
    assert systemd == ["is-enabled", "disable --now"]


def test_what_is_taken_away_stays_off(layout, systemd):
    with uninstall.stopped(layout):
        pass
    assert systemd == ["is-enabled", "disable --now"]


def test_where_no_systemd_runs_nothing_is_asked_of_it(layout, systemd):
    layout.systemd.rmdir()
    with uninstall.stopped(layout):
        pass
    assert systemd == []
