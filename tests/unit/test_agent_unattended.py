"""Who of the managed accounts may run what nobody is there for: nobody, or whom this host names."""

import subprocess
from types import SimpleNamespace

import pytest

from tatu.agent import ending, pam, processes, unattended
from tatu.agent.layout import Layout
from tatu.agent.processes import Process

SAID = SimpleNamespace(accounts={"deploy": ("deploy",), "member": ("member",)})


@pytest.fixture
def layout(tmp_path, monkeypatch):
    found = Layout(tmp_path, tmp_path / "sshd_config", "sshd", "tatu", "true")
    found.unattended.parent.mkdir(parents=True)
    found.state.mkdir(parents=True)
    found.pam.mkdir(parents=True)
    (found.pam / "cron").write_text("account required pam_unix.so\n")
    found.systemd.mkdir(parents=True)
    monkeypatch.setattr(unattended, "run", lambda _: b"")
    return found


def cron(layout):
    lines = (layout.pam / "cron").read_text().splitlines()
    return [line for line in lines if "pam_succeed_if" in line]


def is_run_a_manager(layout, name, *groups):
    """Say whether systemd would start one for a user of these groups."""
    [line] = (
        line for line in layout.user_manager.read_text().splitlines() if "ExecCondition=" in line
    )
    script = line.partition("-c ")[2].strip("'").replace("$$", "$")
    script = script.replace("/usr/bin/id -un", f"echo {name}")
    script = script.replace("/usr/bin/id -nG", f"echo {' '.join(groups)}")
    return subprocess.run(["sh", "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("text", [None, "", "root ubuntu", "deploy;member", "rescue", "DEPLOY"])
def test_nobody_may_who_is_not_named_and_opened_by_a_role(layout, text):
    if text is not None:
        layout.unattended.write_text(text)
    alone = unattended.allowed(layout, SAID)
    assert alone == ()
    unattended.keep(layout, alone)
    assert cron(layout) == ["account required pam_succeed_if.so quiet user notingroup tatu"]
    assert not is_run_a_manager(layout, "deploy", "deploy", "tatu")
    assert is_run_a_manager(layout, "ubuntu", "ubuntu", "sudo")


def test_a_file_that_is_no_use_allows_nobody(layout):
    layout.unattended.symlink_to("/dev/zero")
    assert unattended.allowed(layout, SAID) == ()
    layout.unattended.unlink()
    layout.unattended.write_text("deploy " * 20_000)
    assert unattended.allowed(layout, SAID) == ()


def test_whom_the_file_names_may_for_as_long_as_a_role_opens_the_account(layout):
    layout.unattended.write_text("deploy\ngone\n")
    alone = unattended.allowed(layout, SAID)
    assert alone == ("deploy",)
    unattended.keep(layout, alone)
    assert cron(layout) == [
        "account [success=1 default=ignore] pam_succeed_if.so quiet user in deploy",
        "account required pam_succeed_if.so quiet user notingroup tatu",
    ]
    assert is_run_a_manager(layout, "deploy", "deploy", "tatu")
    assert not is_run_a_manager(layout, "member", "member", "tatu")
    assert unattended.allowed(layout, SimpleNamespace(accounts={"member": ("member",)})) == ()
    layout.unattended.unlink()
    unattended.keep(layout, unattended.allowed(layout, SAID))
    assert len(cron(layout)) == 1
    unattended.remove(layout)
    assert not pam.present(layout, "cron")


def test_what_runs_there_is_spared_and_ends_with_the_role(layout, monkeypatch):
    uids = {"deploy": 1001, "member": 1002}
    monkeypatch.setattr(ending, "_uid", uids.get)
    ours = SimpleNamespace(all=lambda: list(uids))
    monkeypatch.setattr(ending.accounts, "of", lambda _: ours)
    jobs = [
        Process(200 + uid, 7, uid, uid, uid, "/system.slice/cron.service", 0)
        for uid in uids.values()
    ]
    monkeypatch.setattr(processes, "running", lambda: jobs)
    monkeypatch.setattr(ending, "_GRACE", 0)
    monkeypatch.setattr(ending, "end", lambda doomed, _: doomed.running())
    assert [each.uid for each in ending.end_strays(layout, ("deploy",))] == [1002]
    assert [each.uid for each in ending.end_strays(layout)] == [1001, 1002]
