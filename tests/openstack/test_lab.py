"""The lab itself: it comes up, shows what fails, and leaves nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest
from keystoneauth1.exceptions import ConnectFailure, Unauthorized

from tests.lab.openstack import guard
from tests.lab.openstack.process import Failed, Processes, Service
from tests.lab.openstack.venv import ROOT


def test_a_token_can_be_had(identity_lab):
    cloud = identity_lab.cloud()
    assert cloud.auth_token
    assert cloud.identity.find_project("admin").id == cloud.current_project_id


def test_a_wrong_password_is_refused(identity_lab):
    with pytest.raises(Unauthorized):
        _ = identity_lab.cloud(password="wrong").auth_token


def test_a_secret_can_be_kept(identity_lab):
    keeping = identity_lab.cloud().key_manager
    made = keeping.create_secret(name="kept", payload="text", payload_content_type="text/plain")
    assert keeping.get_secret(made.secret_id).payload == "text"


def test_a_token_that_is_revoked_is_refused_at_once(identity_lab):
    token = identity_lab.cloud().auth_token
    asking = identity_lab.cloud().session
    url, header = f"{identity_lab.keystone_url}/auth/tokens", {"X-Subject-Token": token}
    assert asking.get(url, headers=header).status_code == 200
    asking.delete(url, headers=header)
    assert asking.get(url, headers=header, raise_exc=False).status_code == 404


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["keystone", "barbican", "rabbitmq"])
def test_a_service_can_be_stopped_and_started_again(identity_lab, name):
    identity_lab.stop(name)
    try:
        if name == "keystone":
            with pytest.raises(ConnectFailure):
                _ = identity_lab.cloud().auth_token
    finally:
        identity_lab.start_again(name)
    assert identity_lab.cloud().auth_token


def test_what_a_service_was_asked_is_known(identity_lab):
    before = identity_lab.requests("keystone")
    _ = identity_lab.cloud().auth_token
    after = identity_lab.requests("keystone")
    assert after[len(before) :] == ["POST /v3/auth/tokens 201"]


def test_a_service_that_ends_shows_its_last_lines(tmp_path):
    processes = Processes(tmp_path)
    try:
        broken = Service(
            processes, "broken", ["sh", "-c", "echo because; exit 3"], ready=lambda: False
        )
        with pytest.raises(Failed, match=r"(?s)broken ended with 3.*because"):
            broken.start()
    finally:
        processes.close()


_LAB = """
import signal, sys, time
from pathlib import Path
from tests.lab.openstack.process import Processes, Service
# what a shell puts into the background ignores it, and so would we
signal.signal(signal.SIGINT, signal.default_int_handler)
processes = Processes(Path(sys.argv[1]))
# one leaves its session, one its parent, one refuses to end
command = ["sh", "-c", "setsid sleep 1000 & (trap '' TERM; sleep 1000 & wait) & wait"]
Service(processes, "stays", command, ready=lambda: len(processes.living()) > 3).start()
print(processes.mark, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_however_the_parent_ends(tmp_path, end):
    parent = subprocess.Popen(
        [sys.executable, "-c", _LAB, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    with parent:
        mark = parent.stdout.readline().strip()
        assert len(guard.living(set(), mark)) > 3
        os.killpg(parent.pid, end)
    until = time.monotonic() + 10
    while guard.living(set(), mark):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_close_leaves_nothing(tmp_path):
    processes = Processes(tmp_path)
    command = ["sh", "-c", "setsid sleep 1000 & sleep 1000"]
    Service(processes, "stays", command, ready=lambda: len(processes.living()) > 2).start()
    processes.close()
    assert processes.living() == []
    with pytest.raises(RuntimeError, match="closed"):
        processes.spawn("late", ["true"])
