from types import SimpleNamespace

import pytest

from tatu.agent import place, sudoers
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.statement import BreakGlass


def stated(sudo, *, pam_sudo=False, offline=None):
    """As much of a statement as sudo depends on."""
    break_glass = offline and BreakGlass(authorities=(), account=offline)
    return SimpleNamespace(sudo=tuple(sudo), pam_sudo=pam_sudo, break_glass=break_glass)


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path, tmp_path / "sshd_config", "/usr/sbin/sshd", "tatu", "true")
    found.state.mkdir(parents=True)
    found.sudoers.parent.mkdir(parents=True)
    return found


@pytest.fixture
def checked(monkeypatch):
    """Every call of visudo, with what it was shown."""
    calls = []

    def run(arguments, what):
        calls.append(arguments)
        with open(arguments[-1], encoding="ascii") as candidate:  # noqa: PTH123
            if "broken" in candidate.read():
                raise AgentError(f"{what} failed: syntax error")

    monkeypatch.setattr(sudoers, "run", run)
    return calls


def rules(layout):
    return layout.sudoers.read_text().splitlines()[1:]


def test_sudo_is_given_to_whom_the_statement_names_and_denied_to_all_others(layout, checked):
    sudoers.keep(layout, ["admin", "member"], stated(["admin"]))
    assert rules(layout) == ["admin ALL=(ALL:ALL) NOPASSWD: ALL", "member ALL=(ALL:ALL) !ALL"]
    assert layout.sudoers.stat().st_mode & 0o7777 == 0o440
    assert checked[0][:4] == ["visudo", "-c", "-q", "-f"]


def test_where_a_proof_is_asked_for_nothing_is_given_without_one(layout, checked):
    sudoers.keep(layout, ["admin", "member"], stated(["admin"], pam_sudo=True))
    text = layout.sudoers.read_text()
    assert "NOPASSWD" not in text
    assert "admin ALL=(ALL:ALL) PASSWD: ALL" in text
    settings = next(line for line in rules(layout) if line.startswith("Defaults:admin "))
    for setting in ("authenticate", "passwd_tries=1", "timestamp_timeout=0", "!targetpw"):
        assert setting in settings.split("Defaults:admin ")[1].split(", ")


def test_break_glass_needs_no_proof_which_nobody_could_give_then(layout, checked):
    sudoers.keep(layout, ["admin", "way-in"], stated(["admin"], pam_sudo=True, offline="way-in"))
    assert "way-in ALL=(ALL:ALL) NOPASSWD: ALL" in rules(layout)
    assert "admin ALL=(ALL:ALL) PASSWD: ALL" in rules(layout)


def test_one_that_is_no_account_here_gets_no_rule(layout, checked):
    sudoers.keep(layout, ["member"], stated(["admin"]))
    assert "admin" not in "".join(rules(layout))


def test_what_visudo_refuses_is_never_put_where_sudo_reads(layout, checked):
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    before = layout.sudoers.read_bytes()
    with pytest.raises(AgentError, match="visudo -c failed"):
        sudoers.keep(layout, ["broken"], stated([]))
    assert before == layout.sudoers.read_bytes()
    assert [path.name for path in layout.sudoers.parent.iterdir()] == ["tatu"]


def test_what_somebody_changed_is_put_right_and_what_stands_is_not_checked_again(layout, checked):
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    before = layout.sudoers.read_bytes()
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    assert len(checked) == 1
    layout.sudoers.chmod(0o666)
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    assert layout.sudoers.stat().st_mode & 0o7777 == 0o440
    layout.sudoers.unlink()
    layout.sudoers.write_text("member ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    assert before == layout.sudoers.read_bytes()


def test_where_there_is_no_sudo_nothing_is_written(layout):
    layout.sudoers.parent.rmdir()
    sudoers.keep(layout, ["admin"], stated(["admin"]))
    assert not layout.sudoers.parent.exists()


def test_a_file_that_was_written_gets_the_context_that_selinux_wants(
    layout, tmp_path, monkeypatch
):
    labelled = []
    monkeypatch.setattr(place, "run", labelled.append)
    path = tmp_path / "file"
    assert place.put(layout, path, b"one")
    assert labelled == []
    layout.selinux.parent.mkdir(parents=True)
    layout.selinux.write_text("1")
    assert not place.put(layout, path, b"one")
    assert place.put(layout, path, b"two")
    assert labelled == [["restorecon", str(path)]]
