"""Accounts, sudo and sshd by the statement, on a real host (security.md S5, S13, S16)."""

import pytest

from tests.hosts.obeying import Obeying


@pytest.fixture(scope="module")
def obeying(fleet, tmp_path_factory):
    roles = {"admin": ("admin",), "member": ("member",)}
    folder = tmp_path_factory.mktemp("obeying")
    with Obeying.start(fleet, "accounts-1", folder, accounts=roles, sudo=("admin",)) as found:
        yield found


def say(obeying, *accounts, **changes):
    """Have the host obey a statement of these accounts."""
    named = {name: (name,) for name in accounts}
    obeying.tatu.publish(**{"accounts": named, "sudo": ("admin",), **changes})
    return obeying.sync()


def test_roles_open_accounts_and_sudo_is_what_the_statement_says(obeying):
    say(obeying, "admin", "member")
    for name in ("admin", "member"):
        done = obeying.login(name, obeying.certified(name), "id", "-un")
        assert done.stdout == f"{name}\n", done.stderr + obeying.host.journal("ssh")
    root = obeying.login("admin", obeying.certified("admin"), "sudo", "-n", "id", "-un")
    assert root.stdout == "root\n", root.stderr
    denied = obeying.login("member", obeying.certified("member"), "sudo", "-n", "id", "-un")
    assert denied.stdout == ""
    assert denied.returncode != 0
    say(obeying, "admin", "member", sudo=("member",))
    assert obeying.login("admin", obeying.certified("admin"), "sudo", "-n", "id").returncode != 0


def test_a_group_that_other_rules_name_gives_no_sudo(obeying):
    obeying.host.write("/etc/sudoers.d/00-site", "%member ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    try:
        say(obeying, "admin", "member")
        done = obeying.login("member", obeying.certified("member"), "sudo", "-n", "id")
        assert done.returncode != 0
    finally:
        obeying.host.run(["rm", "/etc/sudoers.d/00-site"])


def test_a_lost_account_is_locked_with_its_files_and_comes_back(obeying):
    say(obeying, "admin", "member")
    obeying.host.run(["sh", "-c", "echo long >~member/thesis"])
    assert obeying.login("member", obeying.certified("member"), "true").returncode == 0
    say(obeying, "admin")
    assert obeying.login("member", obeying.certified("member"), "true").returncode == 255
    assert "nologin" in obeying.host.run(["getent", "passwd", "member"]).stdout
    assert obeying.host.run(["chage", "-l", "member"]).stdout.count("1970") == 1
    assert obeying.host.run(["sh", "-c", "cat ~member/thesis"]).stdout == "long\n"
    say(obeying, "admin", "member")
    done = obeying.login("member", obeying.certified("member"), "cat", "thesis")
    assert done.stdout == "long\n", done.stderr


def test_an_account_that_stands_there_is_not_opened(obeying):
    obeying.host.run(["useradd", "--create-home", "carol"])
    before = obeying.host.run(["getent", "shadow", "carol"]).stdout
    done = say(obeying, "admin", "member", "carol")
    assert "the account carol opens to nobody" in done.stderr
    assert obeying.login("carol", obeying.certified("carol"), "true").returncode == 255
    assert before == obeying.host.run(["getent", "shadow", "carol"]).stdout
    assert "carol" not in obeying.host.run(["getent", "group", "tatu"]).stdout


def test_no_other_key_and_no_password_opens_a_managed_account(obeying):
    say(obeying, "admin", "member")
    key = obeying.key.with_suffix(".pub").read_text()
    home = obeying.host.run(["sh", "-c", "echo ~member/.ssh"]).stdout.strip()
    obeying.host.run(["install", "-d", "-o", "member", "-m", "700", home])
    obeying.host.write(f"{home}/authorized_keys", key, 0o644)
    obeying.host.write(f"{home}/rc", "touch /tmp/rc-ran\n", 0o755)
    obeying.host.run(["sh", "-c", "echo member:secret | chpasswd"])
    criteria = "user=member,host=h,addr=192.0.2.1,laddr=192.0.2.2,lport=22"
    shown = obeying.host.run(["/usr/sbin/sshd", "-T", "-C", criteria]).stdout.splitlines()
    for line in (
        "authorizedkeysfile none",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "hostbasedauthentication no",
        "permituserrc no",
        "authenticationmethods publickey",
        "authorizedprincipalsfile /etc/ssh/auth_principals/%u",
    ):
        assert line in shown
    assert obeying.login("member", "/dev/null", "true").returncode == 255
    assert obeying.login("member", obeying.certified("member"), "true").returncode == 0
    assert obeying.host.run(["test", "-e", "/tmp/rc-ran"], check=False).returncode == 1
    found = obeying.host.run(["tatu-agent", "doctor"], check=False)
    assert found.returncode == 1
    assert f"somebody made {home}/authorized_keys" in found.stdout
    obeying.sync()
    shadow = obeying.host.run(["getent", "shadow", "member"]).stdout
    assert shadow.split(":")[1] == "*", "the password is taken back"
    obeying.host.run(["rm", "-r", home])


def test_managed_accounts_run_nothing_without_a_login(obeying):
    say(obeying, "admin", "member")
    member = obeying.certified("member")
    obeying.host.write("/var/lib/systemd/linger/member", "")
    obeying.login("member", member, "sh", "-c", "'echo \"* * * * * touch /tmp/ran\" | crontab -'")
    obeying.login("member", member, "sh", "-c", "'echo touch /tmp/ran | at now'")
    done = obeying.login("member", member, "systemd-run", "--user", "touch", "/tmp/ran")
    assert done.returncode != 0
    assert "Failed" in done.stderr
    uid = obeying.host.run(["id", "-u", "member"]).stdout.strip()
    unit = f"user@{uid}.service"
    obeying.host.run(["systemctl", "start", unit], check=False)  # as a boot does who lingers
    state = obeying.host.run(["systemctl", "is-active", unit], check=False)
    assert state.stdout.strip() != "active"
    # the jobs of another account run, so these had their turn
    obeying.host.run(["sh", "-c", "echo 'touch /tmp/others' | at now"])
    obeying.host.wait_until(
        lambda: obeying.host.run(["test", "-e", "/tmp/others"], check=False).returncode == 0,
        "at runs nothing at all",
        30,
    )
    assert obeying.host.run(["test", "-e", "/tmp/ran"], check=False).returncode == 1
    obeying.sync()
    for path in ("/var/spool/cron/crontabs/member", "/var/lib/systemd/linger/member"):
        assert obeying.host.run(["test", "-e", path], check=False).returncode == 1


def test_whom_this_host_lets_run_unattended_does_until_the_role_goes(obeying):
    host, allowed = obeying.host, "/etc/tatu-agent/unattended"
    host.run(["mkdir", "-p", "/etc/tatu-agent"])
    host.write(allowed, "member\n")
    say(obeying, "admin", "member")
    member = obeying.certified("member")
    obeying.login("member", member, "sh", "-c", "'echo sleep 600 | at now'")

    def runs():
        return host.run(["pgrep", "-u", "member", "sleep"], check=False).returncode == 0

    host.wait_until(runs, "at refuses it", 30)
    obeying.sync()
    assert runs(), "no revocation ends it"
    host.run(["systemctl", "start", f"user@{host.run(['id', '-u', 'member']).stdout.strip()}"])
    say(obeying, "admin")
    assert not runs()
    host.run(["rm", allowed])


def findings(obeying):
    """Return what the doctor names."""
    told = obeying.host.run(["tatu-agent", "doctor"], check=False)
    assert told.returncode == 1
    return {line.split(": ")[1] for line in told.stdout.splitlines()}


def test_what_somebody_changed_is_found_by_the_doctor_and_put_right_by_the_next_run(obeying):
    say(obeying, "admin", "member")
    assert findings(obeying) == {"tatu-agent.service"}, "this test does its work"
    manager = "/etc/systemd/system/user@.service.d/50-tatu.conf"
    changed = ["/etc/sudoers.d/tatu", "/usr/lib/tatu-agent/session", manager]
    for path in changed:
        obeying.host.run(["sh", "-c", f"echo '# more' >>{path}"])
    blocks = ["/etc/pam.d/sshd", "/etc/pam.d/cron", "/etc/pam.d/atd"]
    obeying.host.run(["sed", "-i", "/Begin: written by/,/End: written by/d", *blocks])
    gone = "/etc/ssh/auth_principals/member"
    obeying.host.run(["rm", gone])
    assert findings(obeying) == {"tatu-agent.service", *changed, *blocks, gone}
    obeying.sync()
    assert findings(obeying) == {"tatu-agent.service"}, "this test does its work"


def test_a_configuration_that_ends_sshd_is_taken_back(obeying):
    say(obeying, "admin", "member")
    before = obeying.host.run(["cat", "/etc/ssh/sshd_config.d/00-tatu.conf"]).stdout
    # systemd starts another sshd than the one that is asked: it does not come up again
    obeying.host.write("/etc/ssh/sshd_config.d/00-tatu.conf", "# changed\n")
    obeying.host.write(
        "/etc/systemd/system/ssh.service.d/broken.conf",
        "[Service]\nExecReload=\nExecReload=/bin/sh -c 'kill $MAINPID'\n",
    )
    obeying.host.run(["systemctl", "daemon-reload"])
    obeying.host.run(["rm", "/var/lib/tatu-agent/loaded"])
    done = obeying.sync(check=False)
    assert done.returncode == 1
    assert "sshd answers no more" in done.stderr
    assert obeying.host.sshd_ready()
    after = obeying.host.run(["cat", "/etc/ssh/sshd_config.d/00-tatu.conf"]).stdout
    assert before == after
    obeying.host.run(["rm", "/etc/systemd/system/ssh.service.d/broken.conf"])
    obeying.host.run(["systemctl", "daemon-reload"])
    obeying.sync()
