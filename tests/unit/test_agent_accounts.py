import os
from contextlib import suppress
from pathlib import Path

import pytest

from tatu.agent import accounts, made
from tatu.agent.accounts import Accounts
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.core.accounts import RESERVED_ACCOUNTS
from tests.fakes.agent_users import FakeUsers, Killed


@pytest.fixture(autouse=True)
def _disk_without_waiting(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path, tmp_path / "sshd_config", "/usr/sbin/sshd", "tatu", "true")
    found.state.mkdir(parents=True)
    return found


@pytest.fixture
def users(tmp_path):
    return FakeUsers(tmp_path)


@pytest.fixture
def ours(layout, users):
    return Accounts(layout, users)


def test_an_account_is_made_in_the_group_with_a_home_and_no_password(ours, users):
    assert ours.keep(["member"]) == []
    assert ours.managed(["member", "admin"]) == ["member"]
    assert users.groups["tatu"] == {"member"}
    assert users.users["member"].is_open
    assert users.home("member").is_dir()


def test_keeping_what_is_there_runs_no_program(ours, users):
    ours.keep(["member", "admin"])
    users.calls.clear()
    assert ours.keep(["member", "admin"]) == []
    assert users.calls == []


def test_an_account_that_is_named_no_more_is_locked_with_its_files_and_opened_again(ours, users):
    ours.keep(["member", "admin"])
    (users.home("member") / "thesis").write_text("long")
    assert ours.keep(["admin"]) == []
    assert users.users["member"].is_locked
    assert users.users["admin"].is_open
    assert (users.home("member") / "thesis").exists()
    ours.keep(["member", "admin"])
    assert users.users["member"].is_open
    assert [call for call in users.calls if "useradd" in call] == [
        "useradd admin",
        "useradd member",
    ]


@pytest.mark.parametrize(
    "change", [{"password": "$y$set"}, {"expires": "20000"}, {"shell": "/usr/sbin/nologin"}]
)
def test_what_somebody_changed_of_an_account_is_put_right(change, ours, users):
    ours.keep(["member"])
    users._change("member", **change)
    ours.keep(["member"])
    assert users.users["member"].is_open
    ours.keep([])
    users._change("member", **{"shell": "/bin/bash", **change})
    ours.keep([])
    assert users.users["member"].is_locked


def test_another_shell_is_the_users_own_business(ours, users):
    ours.keep(["member"])
    users._change("member", shell="/bin/zsh")
    ours.keep(["member"])
    assert users.users["member"].shell == "/bin/zsh"


# --- never adopted


def test_an_account_that_stands_there_is_not_adopted_and_not_changed(ours, users):
    users.person("alice")
    before = dict(users.users)
    assert ours.keep(["alice", "member"]) == []
    assert ours.managed(["alice", "member"]) == ["member"]
    assert before["alice"] == users.users["alice"]
    assert "alice" not in users.groups["tatu"]
    assert "did not make" in ours.in_the_way(["alice", "member"])["alice"]
    ours.keep([])
    assert users.users["alice"] == before["alice"], "nor is it locked"


def test_the_comment_alone_which_users_may_change_makes_no_account_the_agents(ours, users):
    users.person("alice", comment=accounts.MARK)
    ours.keep(["alice"])
    assert ours.managed(["alice"]) == []


def test_the_group_alone_makes_no_account_the_agents(ours, users):
    users.person("alice")
    users.groups["tatu"] = {"alice"}
    ours.keep(["alice"])
    assert ours.managed(["alice"]) == []
    ours.keep([])
    assert users.users["alice"].is_open


def test_a_system_account_is_none_whatever_it_says(ours, users):
    users.person("backup2", uid=34, comment=accounts.MARK)
    users.groups["tatu"] = {"backup2"}
    assert ours.managed(["backup2"]) == []


@pytest.mark.parametrize("name", ["root", "ubuntu", "sshd", "systemd-x", "docker", "tatu"])
def test_reserved_names_are_never_made(name, ours, users):
    ours.keep([name])
    assert users.find(name) is None
    assert "reserved" in ours.in_the_way([name])[name] or name in users.groups


def test_the_reserved_names_are_those_that_tatu_refuses():
    assert accounts.RESERVED == RESERVED_ACCOUNTS


def test_a_group_or_a_home_of_that_name_stands_in_the_way(ours, users):
    users.groups["disks"] = set()
    users.home("old").mkdir()
    ours.keep(["disks", "old"])
    assert users.users == {}
    told = ours.in_the_way(["disks", "old"])
    assert "rights it would get" in told["disks"]
    assert "files it would get" in told["old"]


def test_a_link_in_place_of_a_home_stands_in_the_way(ours, users, tmp_path):
    users.home("member").symlink_to(tmp_path / "nowhere")
    ours.keep(["member"])
    assert users.users == {}


def test_ever_new_names_do_not_fill_the_machine(ours, users, monkeypatch):
    monkeypatch.setattr(accounts, "_MAX_ACCOUNTS", 3)
    ours.keep(["a", "b"])
    ours.keep(["c", "d", "e"])
    assert sorted(users.users) == ["a", "b", "c"]
    assert sorted(ours.in_the_way(["c", "d", "e"])) == ["d", "e"]


# --- a group that is somebody else's


@pytest.fixture(params=["primary", "member"])
def theirs(request, users):
    """A group that the server of Tatu runs by, or that a person is in."""
    users.person("tatu", uid=120)
    users.groups["tatu"] = set()
    if request.param == "primary":
        users.primary["tatu"] = "tatu"
    else:
        users.groups["tatu"].add("tatu")


@pytest.mark.usefixtures("theirs")
def test_no_account_is_made_in_a_group_that_is_of_somebody_else(ours, users):
    assert ours.strangers() == ["tatu"]
    with pytest.raises(AgentError, match="group tatu is of tatu: give --group another"):
        ours.claim()
    told = ours.keep(["member"])
    assert told == ["account tatu: group tatu is of tatu: give --group another"]
    assert users.find("member") is None
    assert users.calls == []


def test_whoever_comes_into_the_group_later_keeps_no_account_from_being_locked(ours, users):
    ours.keep(["admin", "member"])
    users.person("alice")
    users.groups["tatu"].add("alice")
    assert ours.keep(["admin"]) == []
    assert users.users["member"].is_locked
    assert users.users["admin"].is_open
    assert "--group another" in ours.keep(["admin", "more"])[0]
    assert users.find("more") is None


def test_names_without_an_account_hold_no_group(ours, users):
    users.groups["tatu"] = {"gone"}
    assert ours.strangers() == []
    assert ours.keep(["member"]) == []


def test_kept_accounts_leave_a_group_that_is_of_somebody_else(ours, users):
    ours.keep(["member"])
    ours.leave()
    assert users.groups["tatu"] == {"member"}, "it is the agent's alone"
    users.person("tatu", uid=120)
    users.primary["tatu"] = "tatu"
    assert ours.retire(remove=False) == []
    ours.leave()
    assert users.groups["tatu"] == set()
    assert users.users["member"].is_locked
    assert ours.retire(remove=False) == [], "a group that is in use stays"
    assert "tatu" in users.groups


# --- what fails


def test_one_that_fails_keeps_no_other_from_being_locked_or_made(ours, users):
    ours.keep(["a", "b"])
    users.broken = {"a", "c"}
    told = ours.keep(["c", "d"])
    assert [text.partition(":")[0] for text in told] == ["account a", "account c"]
    assert users.users["b"].is_locked
    assert ours.managed(["c", "d"]) == ["d"]


def test_what_a_program_that_took_too_long_left_is_removed_at_once(ours, users):
    users.slow = {"a"}
    assert len(ours.keep(["a", "b"])) == 1
    assert users.find("a") is None
    assert ours.managed(["a", "b"]) == ["b"]
    users.slow = set()
    assert ours.keep(["a", "b"]) == []
    assert ours.managed(["a", "b"]) == ["a", "b"]


def test_a_job_that_ran_since_it_was_listed_stops_nothing_else(ours, users, layout, monkeypatch):
    ours.keep(["a", "b"])
    jobs = layout.root / "var/spool/at"
    jobs.mkdir(parents=True)
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "gone"]))
    assert ours.keep(["c"]) == []
    assert users.users["b"].is_locked
    assert ours.managed(["c"]) == ["c"]


def test_killed_between_any_two_steps_no_half_account_is_opened_and_the_next_run_ends_it(
    layout, tmp_path
):
    wanted = ["admin", "member"]
    for step in range(100):
        root = tmp_path / str(step)
        root.mkdir()
        users = FakeUsers(root)
        here = Accounts(layout, users)
        made.save(layout, made.Made())
        users.steps_left = step
        try:
            here.keep(wanted)
        except Killed:
            for name in here.managed(wanted):
                assert users.home(name).is_dir()
                assert users.users[name].is_open
            users.steps_left = None
            assert here.keep(wanted) == []
        assert here.managed(wanted) == wanted
        assert all(users.home(name).is_dir() for name in wanted)
        if users.steps_left:
            break
    assert step > 10


def test_killed_again_while_what_was_half_made_is_removed_it_ends_well(layout, tmp_path):
    for first in range(2, 9):
        for second in range(6):
            root = tmp_path / f"{first}-{second}"
            root.mkdir()
            users = FakeUsers(root)
            here = Accounts(layout, users)
            made.save(layout, made.Made())
            for steps in (first, second):
                users.steps_left = steps
                with suppress(Killed):
                    here.keep(["member"])
            users.steps_left = None
            assert here.keep(["member"]) == [], (first, second)
            assert here.managed(["member"]) == ["member"]


def test_a_damaged_record_locks_nobody_out_and_adopts_nobody(ours, users, layout):
    ours.keep(["member"])
    users.person("alice")
    for damage in (b"", b"[", b"[]", b'{"making": 7, "x": 1}', b"[" * 60_000):
        layout.made.write_bytes(damage)
        assert ours.keep(["member", "alice"]) == []
        assert ours.managed(["member", "alice"]) == ["member"]


# --- what would run without a login


def test_an_account_that_may_run_unattended_keeps_its_jobs_until_it_is_locked(ours, layout):
    crontab = layout.root / "var/spool/cron/crontabs/member"
    crontab.parent.mkdir(parents=True)
    crontab.write_text("* * * * * id\n")
    for _ in "12":
        ours.keep(["member"], unattended=["member"])
        assert crontab.exists()
    ours.keep([], unattended=["member"])
    assert not crontab.exists()


def test_jobs_and_lingering_of_managed_accounts_go_and_those_of_others_stay(
    ours, users, layout, monkeypatch
):
    ours.keep(["member"])
    users._change("member", uid=os.getuid() + 1000)
    crontabs = layout.root / "var/spool/cron/crontabs"
    jobs = layout.root / "var/spool/cron/atjobs"
    linger = layout.root / "var/lib/systemd/linger"
    for folder in (crontabs, jobs, linger):
        folder.mkdir(parents=True)
    for name in ("member", "root"):
        (crontabs / name).write_text("* * * * * id\n")
        (linger / name).touch()
    lstat = Path.lstat

    def owned(path):
        found = list(lstat(path))
        if path.name == "a0001":
            found[4] = os.getuid() + 1000
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", owned)
    for name in ("a0001", "a0002"):
        (jobs / name).write_text("id\n")
    (jobs / "link").symlink_to(jobs / "a0001")
    ours.keep(["member"])
    assert [path.name for path in crontabs.iterdir()] == ["root"]
    assert [path.name for path in linger.iterdir()] == ["root"]
    assert sorted(path.name for path in jobs.iterdir()) == ["a0002", "link"]


# --- under another root


def test_under_another_root_no_account_is_made_or_changed(layout):
    standing = accounts.of(layout)
    assert standing.keep(["member"]) == []
    assert standing.managed(["no-such-account"]) == []
    assert list(standing.in_the_way(["no-such-account"])) == ["no-such-account"]
