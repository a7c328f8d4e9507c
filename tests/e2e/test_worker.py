"""`tatu-worker` as systemd runs it, on an embedded deployment that has no message bus."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tatu.drivers.keystore import kek
from tatu.manage.main import main as manage

TIMEOUT = 60
WORKER = [sys.executable, "-m", "tatu.worker"]


@pytest.fixture
def conf(tmp_path):
    key = tmp_path / "kek"
    key.touch(mode=0o600)
    key.write_text(kek.new_line(os.urandom))
    path = tmp_path / "tatu.conf"
    path.write_text(
        "[DEFAULT]\napi_endpoint = http://127.0.0.1:1\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/tatu.db\n"
        f"[state]\ndirectory = {tmp_path}/state\n[keystore_local]\nkek_file = {key}\n"
    )
    assert manage([f"--config-file={path}", "db", "sync"]) == 0
    return path


def run(*words):
    return subprocess.run(
        [*WORKER, *map(str, words)], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def lines(process, wanted):
    """Read a worker's log up to an event."""
    found = []
    until = time.monotonic() + TIMEOUT
    while wanted not in [line["event"] for line in found]:
        assert time.monotonic() < until, found
        found.append(json.loads(process.stdout.readline()))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_many_workers_work_at_once_and_each_stops_when_told(conf, number):
    workers = [
        subprocess.Popen([*WORKER, f"--config-file={conf}"], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for worker in workers:
            lines(worker, "working")
        workers[0].send_signal(signal.SIGHUP)
        lines(workers[0], "reload")
        for worker in workers:
            worker.send_signal(number)
            lines(worker, "stopped")
            assert worker.wait(TIMEOUT) == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            worker.stdout.close()


def test_a_worker_that_could_work_says_nothing(conf):
    done = run(f"--config-file={conf}", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_worker_that_could_not_work_says_what_is_wrong(conf):
    with conf.open("a") as file:
        file.write(
            "[events]\ndriver = oslo\n"
            "[events_oslo]\ntransport_url = rabbit://tatu:hidden-word@127.0.0.1:1/\n"
        )
    done = run(f"--config-file={conf}", "--check")
    assert done.returncode == 1
    assert "tatu-worker: events: the message bus does not answer: 127.0.0.1:1" in done.stderr
    assert "hidden-word" not in done.stdout + done.stderr


def test_a_ledger_without_tables_and_a_wrong_configuration_are_told_apart(tmp_path, conf):
    (tmp_path / "tatu.db").unlink()
    assert run(f"--config-file={conf}").returncode == 1
    with conf.open("a") as file:
        file.write("[events]\ndriver = pigeons\n")
    done = run(f"--config-file={conf}")
    assert done.returncode == 2
    assert "there is no such driver" in done.stderr
