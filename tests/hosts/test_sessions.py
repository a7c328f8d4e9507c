"""Which sessions end, on real hosts: whatever was started in them, and nothing beside them."""

import contextlib
import subprocess

import pytest


@pytest.fixture(scope="module")
def host(fleet, project):
    host = fleet.host("sessions")
    project.enrol(host)
    return host


@pytest.fixture(scope="module")
def project(tatu):
    return tatu.project()


def test_x(fleet, project, host):
    bob = project.person("bob", "member")
    serial = bob.certify()["serial"]
    with fleet.inside():
        p = subprocess.Popen(bob.ssh_command(host, "member", "setsid", "sleep", "1000"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    import time
    time.sleep(3)
    print(host.run(["sh", "-c", "cat /run/tatu-agent/sessions/*; cat /etc/pam.d/sshd | head -8; loginctl; ps axo pid,ppid,user,cgroup,cmd | grep -v ]$; for i in /proc/[0-9]*; do echo $i $(cat $i/sessionid $i/loginuid $i/comm); done"], check=False).stdout)
    bob.run("usercert", "revoke", serial, "--reason", "test")
    t = time.time()
    r = host.run(["tatu-agent", "sync"], check=False)
    print(r.stdout, r.stderr, time.time() - t)
    print(p.wait(5), p.stdout.read())
    print(host.run(["sh", "-c", "cat /var/lib/tatu-agent/spool/events; ls -la /run/tatu-agent; loginctl"], check=False).stdout)
    print(host.journal()[-4000:])
    assert 0
