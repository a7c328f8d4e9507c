"""TLS without a proxy: `tatu-api` serves it, `tatu` and `tatu-agent` trust what they are told to."""

import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

from tests.e2e.cli_lab import TATU, make_key
from tests.fakes.agent_host import AgentHost, make_keys
from tests.fakes.tls import make_certificate
from tests.lab.server import PROJECT, USER, Deployment, wait_until


class Served:
    """A deployment whose API answers https alone."""

    def __init__(self, folder):
        self.deployment = Deployment(folder / "deployment")
        self.certificate, key = make_certificate(folder)
        (self.process,) = self.deployment.processes
        self.url = f"https://127.0.0.1:{self.process.port}"
        self.process.config.write_text(
            self.process.config.read_text()
            .replace("http://", "https://")
            .replace("[api]", f"[api]\ntls_certificate = {self.certificate}\ntls_key = {key}")
        )
        self.sign_in_key = make_key(folder / "id")
        self.deployment.manage(
            *("bootstrap", "--admin", USER, "--project", PROJECT),
            *("--key", f"{self.sign_in_key}.pub"),
        )
        self.process.spawn()
        wait_until(self._is_ready)

    def _is_ready(self):
        context = ssl.create_default_context(cafile=self.certificate)
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", context=context) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            assert self.process.process.poll() is None, self.process.log.read_text()
            return False


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path)
    yield made
    made.deployment.stop()


def tatu(home, *words, status=0, **environment):
    done = subprocess.run(
        [TATU, *map(str, words)],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_users_and_hosts_reach_it_over_tls_that_they_were_told_to_trust(
    served, tmp_path, tmp_path_factory, capsys
):
    trusting = {"REQUESTS_CA_BUNDLE": str(served.certificate)}
    login = ("login", "--url", served.url, "--user", USER, "--project", PROJECT)
    login = (*login, "--key", served.sign_in_key)
    assert "certificate verify failed" in tatu(tmp_path, *login, status=5)
    tatu(tmp_path, *login, **trusting)
    token = tatu(
        tmp_path,
        *("token", "create", "db-1", "--address", "127.0.0.1", "-f", "value", "-c", "token"),
        **trusting,
    ).strip()
    host = AgentHost(tmp_path / "host", make_keys(tmp_path_factory.mktemp("keys")))
    assert host.enrol(token) == 1
    assert "certificate verify failed" in capsys.readouterr().err
    assert host.enrol(token, "--ca-file", str(served.certificate)) == 0, capsys.readouterr().err
    assert host.sync() == 0  # the authority is remembered
    served.process.stop()
