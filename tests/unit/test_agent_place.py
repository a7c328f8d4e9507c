"""Where SELinux is on, whatever the agent makes gets the context that the policy wants."""

import pytest

from tatu.agent import made, place, unit
from tatu.agent.layout import Layout


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")
    found.state.mkdir(parents=True)
    return found


@pytest.fixture
def labelled(layout, monkeypatch):
    """The paths that were labelled, as names below the root."""
    layout.selinux.parent.mkdir(parents=True)
    layout.selinux.touch()
    found = []

    def run(words):
        assert words[0] == "restorecon"
        found.extend(word.removeprefix(f"{layout.root}/") for word in words[1:])

    monkeypatch.setattr(place, "run", run)
    return found


def test_a_file_is_labelled_when_it_is_written_and_not_again(layout, labelled):
    for _ in range(2):
        place.put(layout, layout.root / "file", b"x")
    assert labelled == ["file"]


def test_folders_are_labelled_from_the_top(layout, labelled):
    for _ in range(2):
        made.folder(layout, layout.hooks)
    assert labelled == ["usr", "usr/lib", "usr/lib/tatu-agent"]


def test_the_unit_is_labelled(layout, labelled):
    unit.setup(layout, [])
    assert labelled[-1] == "etc/systemd/system/tatu-agent.service"


def test_without_selinux_nothing_is_run(layout, monkeypatch):
    monkeypatch.setattr(place, "run", None)
    place.put(layout, layout.root / "file", b"x")
    made.folder(layout, layout.hooks)
