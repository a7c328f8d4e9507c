"""The agent is killed at any moment while versions change: logins work, or are refused, as they should be."""

import random
import signal
import threading

import pytest

from tests.hosts.obeying import Obeying

ROUNDS = 8
LONGEST = 3.0
"""Seconds: more than a run takes when nothing kills it."""


class Comer:
    """Somebody who logs in again and again, and counts what came of it."""

    def __init__(self, obeying, account, certificate):
        self.came = []
        self._again = threading.Event()
        self._again.set()
        self._thread = threading.Thread(target=self._come, args=(obeying, account, certificate))
        self._thread.start()

    def _come(self, obeying, account, certificate):
        while self._again.is_set():
            login = obeying.login(account, certificate, "echo in")
            # sshd listens anew at a reload
            if "Connection refused" not in login.stderr:
                self.came.append((login.returncode, login.stdout, login.stderr))

    def stop(self):
        self._again.clear()
        self._thread.join()


@pytest.fixture
def obeying(fleet, tmp_path):
    accounts = {"admin": ("admin",), "member": ("member",)}
    with Obeying.start(fleet, "killed", tmp_path, accounts=accounts) as obeying:
        yield obeying


def test_an_agent_that_is_killed_at_any_moment_locks_nobody_out_and_lets_nobody_in(obeying):
    tatu, host = obeying.tatu, obeying.host
    good, revoked = obeying.certified("admin", serial=1), obeying.certified("admin", serial=2)
    tatu.revoked = frozenset({2})
    tatu.publish(accounts={"admin": ("admin",), "member": ("member",)})
    obeying.sync()
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    comers = Comer(obeying, "admin", good), Comer(obeying, "admin", revoked)
    killed = 0
    try:
        for number in range(ROUNDS):
            tatu.revoked |= {100 + number}
            accounts = {"admin": ("admin",), "member": ("member",), f"role{number}": ("other",)}
            if number % 2:
                del accounts["member"]
            sudo = ("admin",) if number % 3 else ("admin", f"role{number}")
            tatu.publish(accounts=accounts, sudo=sudo, pam_sudo=bool(number % 2))
            seconds = f"{chance.uniform(0.05, LONGEST):.3f}"
            done = host.run(["timeout", "-s", "KILL", seconds, "tatu-agent", "sync"], check=False)
            killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
            host.run(["sshd", "-t"])
            host.run(["visudo", "-c", "-q"])
    finally:
        for comer in comers:
            comer.stop()
    let_in, kept_out = (comer.came for comer in comers)
    assert killed, "nothing was killed"
    assert len(let_in) > ROUNDS / 2
    assert {(0, "in\n")} == {came[:2] for came in let_in}, (seed, let_in)
    assert {(255, "")} == {came[:2] for came in kept_out}, (seed, kept_out)

    obeying.sync()
    assert host.run(["id", "-un", f"role{ROUNDS - 1}"]).stdout == f"role{ROUNDS - 1}\n"
    stale = obeying.certified("member", serial=3)
    assert obeying.login("member", stale, "true").returncode == 255, "its account is locked"
    tatu.revoked |= {1}
    tatu.publish(sudo=("admin",))
    obeying.sync()
    assert obeying.login("admin", good, "true").returncode == 255
