"""Our lines in PAM's files."""

import pytest

from tatu.agent import pam
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout

BEFORE = b"# PAM configuration\n@include common-session\nsession required pam_env.so"


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")
    layout.pam.mkdir(parents=True)
    (layout.pam / "sshd").write_bytes(BEFORE)
    (layout.pam / "sshd").chmod(0o640)
    return layout


def test_our_lines_come_before_all_others_and_leave_no_trace(layout):
    file = layout.pam / "sshd"
    assert tuple(pam.ensure(layout, "sshd", ["session a", "b"]) for _ in "12") == (True, False)
    assert file.read_bytes().splitlines()[1:3] == [b"session a", b"b"]
    assert file.read_bytes().endswith(BEFORE)
    assert (pam.present(layout, "sshd"), file.stat().st_mode & 0o777) == (True, 0o640)
    pam.remove(layout, "sshd")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (BEFORE, 0o640)
    assert not pam.present(layout, "sshd")


def test_other_lines_of_ours_take_the_place_of_the_first(layout):
    pam.ensure(layout, "sshd", ["one"])
    assert pam.ensure(layout, "sshd", ["two"])
    text = (layout.pam / "sshd").read_bytes()
    assert (text.count(b"one"), text.count(b"\ntwo\n")) == (0, 1)


def test_what_others_wrote_meanwhile_stays(layout):
    pam.ensure(layout, "sshd", ["one"])
    file = layout.pam / "sshd"
    file.write_bytes(b"# new\n" + file.read_bytes() + b"\n# newer\n")
    assert pam.ensure(layout, "sshd", ["one"]), "something stands before ours"
    pam.remove(layout, "sshd")
    assert file.read_bytes() == b"# new\n" + BEFORE + b"\n# newer\n"


def test_a_service_that_is_not_there_is_an_error_and_nothing_to_remove(layout):
    with pytest.raises(AgentError, match="missing"):
        pam.ensure(layout, "cron", ["one"])
    pam.remove(layout, "cron")
    assert not pam.present(layout, "cron")
    assert [path.name for path in layout.pam.iterdir()] == ["sshd"]
