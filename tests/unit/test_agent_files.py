import os

import pytest

from tatu.agent import files
from tatu.agent.errors import AgentError
from tatu.agent.state import Store, check_machine, machine


def test_a_file_is_replaced_with_its_mode_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "krl"
    files.write(path, b"one", 0o600)
    files.write(path, b"two", 0o644)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_has_its_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        files.folder(tmp_path / "etc/ssh", 0o755)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "etc", tmp_path / "etc/ssh")]
    assert modes == [0o755, 0o755]


def test_what_a_killed_run_left_beside_does_no_harm(tmp_path):
    (tmp_path / ".krl.new").write_bytes(b"half")
    files.write(tmp_path / "krl", b"whole", 0o644)
    assert [path.name for path in tmp_path.iterdir()] == ["krl"]


@pytest.mark.parametrize("call", ["fsync", "rename", "fchmod"])
def test_a_write_that_fails_keeps_the_old_file_whole(call, tmp_path, monkeypatch):
    path = tmp_path / "krl"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(AgentError, match=r"krl: Input/output error"):
        files.write(path, b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_context_of_the_one_it_replaces_before_it_takes_its_place(
    tmp_path, monkeypatch
):
    path, done = tmp_path / "krl", []
    rename = os.rename

    def noted(*given, **named):
        done.append("renamed")
        rename(*given, **named)

    monkeypatch.setattr(os, "rename", noted)
    monkeypatch.setattr(os, "getxattr", lambda of, name, **_: f"{name} of {of.name}".encode())
    monkeypatch.setattr(os, "setxattr", lambda file, name, value: done.append((name, value)))
    files.write(path, b"new", 0o644)
    assert done == [("security.selinux", b"security.selinux of krl"), "renamed"]


@pytest.mark.parametrize("call", ["getxattr", "setxattr"])
def test_where_no_context_can_be_kept_a_file_is_written_all_the_same(call, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "getxattr", lambda *_, **__: b"a context")
    monkeypatch.setattr(os, call, fail)
    files.write(tmp_path / "krl", b"new", 0o644)
    assert (tmp_path / "krl").read_bytes() == b"new"


def test_a_link_is_not_followed(tmp_path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    with pytest.raises(AgentError):
        files.read(link, 100)
    files.write(link, b"new", 0o644)
    assert (victim.read_bytes(), link.is_symlink()) == (b"mine", False)


def test_a_folder_that_is_a_link_is_not_followed(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    for use in (lambda p: files.write(p, b"x", 0o644), files.remove):
        with pytest.raises(AgentError):
            use(tmp_path / "link" / "file")
    assert not list(real.iterdir())


def test_what_is_no_plain_file_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"12345")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "large"):
        with pytest.raises(AgentError):
            files.read(path, 4)
    assert files.read(tmp_path / "absent", 4) is None


def test_removing_what_is_not_there_is_no_error(tmp_path):
    files.remove(tmp_path / "absent")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1, "more": 2}', "[" * 100_000])
def test_a_damaged_state_is_one_clear_error(text, tmp_path):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(AgentError, match="damaged"):
        Store(tmp_path).load()


def test_a_machine_is_told_by_all_that_its_platform_says(tmp_path):
    (tmp_path / "etc").mkdir()
    assert machine(tmp_path) == {}
    (tmp_path / "etc/machine-id").write_text("A\n")
    recorded = machine(tmp_path)
    check_machine(recorded, tmp_path)
    data = tmp_path / "var/lib/cloud/data"
    data.mkdir(parents=True)
    (data / "instance-id").write_text("i-1\n")
    check_machine(recorded, tmp_path)
    both = machine(tmp_path)
    (data / "instance-id").write_text("i-2\n")
    check_machine(recorded, tmp_path)
    with pytest.raises(AgentError, match="its instance-id differs"):
        check_machine(both, tmp_path)
