"""The agent's loop on real hosts: what is revoked is refused, and receipted, within seconds."""

import re
import time

import pytest

from tests.lab.server import wait_until


@pytest.fixture
def enrolled(boot, project):
    host = boot("db-1")
    project.enrol(host)
    return host


def test_a_revocation_ends_the_session_and_is_receipted_within_seconds(enrolled, project):
    host = enrolled
    host.start_loop()
    bob = project.person("bob", "member")
    serial = bob.certify()["serial"]
    assert bob.ssh(host, "member", "id", "-un").stdout == "member\n", host.journal("ssh")
    begun = time.monotonic()
    said = project.admin.run("usercert", "revoke", serial, "--reason", "test", "--wait")
    assert time.monotonic() - begun < 10
    assert re.search(r"refused on 1/1 hosts", said.stdout + said.stderr)
    refused = bob.ssh(host, "member", "true")
    assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)


def test_the_loop_ends_cleanly_and_says_each_thing_once(enrolled, project):
    host = enrolled
    host.start_loop()
    wait_until(lambda: "obeying statement" in host.journal("tatu-loop"))
    host.run(["systemctl", "stop", "tatu-loop"])
    said = [line for line in host.journal("tatu-loop").splitlines() if "tatu-agent:" in line]
    assert len(said) == len(set(said)), said
    assert "Traceback" not in host.journal("tatu-loop")
