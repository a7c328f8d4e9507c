"""DevStack's plugin: its phases, run with stand-ins for DevStack's functions in a cloud that runs already."""

import configparser
import getpass
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab.openstack.site import REGION
from tests.lab.server import free_port

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).with_name("devstack.sh")


class DevStack:
    """A folder with the services' configuration as DevStack has written it, and its phases."""

    def __init__(self, folder, lab, **settings):
        self.folder, self.port = folder, free_port()
        (folder / "tatu").symlink_to(ROOT)
        self.files = {}
        for name, text in {
            "keystone": "[oslo_messaging_notifications]\ntopics = notifications\n",
            "nova": "[api]\nauth_strategy = keystone\n",
            "nova_cell1": "[notifications]\nnotification_format = both\n",
            "neutron": "[oslo_messaging_notifications]\ntopics = notifications,designate\n",
        }.items():
            self.files[name] = folder / name.partition("_")[0] / f"{name}.conf"
            self.files[name].parent.mkdir(exist_ok=True)
            self.files[name].write_text(text)
        self._environment = {
            **lab.exports,
            "PATH": os.defpath,
            "FAKE": str(folder),
            "PYTHON": sys.executable,
            "DEST": str(folder),
            "DATA_DIR": f"{folder}/data",
            "STACK_USER": getpass.getuser(),
            "ENABLED_SERVICES": "keystone,rabbit,nova,neutron,barbican",
            "SERVICE_HOST": "127.0.0.1",
            "SERVICE_LISTEN_ADDRESS": "127.0.0.1",
            "SERVICE_TIMEOUT": "60",
            "SERVICE_PROJECT_NAME": "service",
            "SERVICE_DOMAIN_NAME": "Default",
            "REGION_NAME": REGION,
            "TRANSPORT_URL": lab.transport_url,
            "KEYSTONE_CONF": str(self.files["keystone"]),
            "NOVA_CONF": str(self.files["nova"]),
            "NOVA_CONF_DIR": str(folder / "nova"),
            "NOVA_CPU_CONF": str(folder / "nova/nova-cpu.conf"),
            "NEUTRON_CONF": str(self.files["neutron"]),
            "TATU_CONF_DIR": f"{folder}/etc",
            "TATU_SERVICE_PORT": str(self.port),
            "OS_KEYSTORE_CASTELLAN__TIMEOUT": "30",  # on a machine that does much else
            **settings,
        }

    def run(self, *phases, status=0):
        """Run phases as stack.sh, unstack.sh and clean.sh do; return what they printed."""
        lines = [f"source {STAND_INS}", f"source {ROOT}/devstack/settings"]
        lines += [f"source {ROOT}/devstack/plugin.sh {phase}" for phase in phases]
        done = subprocess.run(
            ["bash"],
            input="\n".join(lines),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr + self.logs()
        return done.stdout + done.stderr

    def sections(self, file):
        parser = configparser.RawConfigParser(default_section="none")
        parser.read_string(file.read_text())
        return parser

    def logs(self):
        return "".join(file.read_text()[-3000:] for file in self.folder.glob("*.log"))

    def alive(self):
        return [file.stem for file in self.folder.glob("*.pid") if _lives(int(file.read_text()))]

    def close(self):
        for file in self.folder.glob("*.pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(file.read_text()), signal.SIGKILL)


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def devstack(identity_lab, tmp_path):
    made = []

    def make(**settings):
        made.append(DevStack(tmp_path, identity_lab, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_stack_serves_and_configures_the_others_and_clean_leaves_nothing(devstack):
    # the lab's Barbican is on SQLite, which refuses the worker and the check at the same moment
    here = devstack(TATU_CREATE_AUTHORITIES="False")
    phases = ("pre-install", "install", "post-config", "extra", "test-config")
    told = here.run(*(f"stack {phase}" for phase in phases))
    assert "identity (keystone) ok" in told
    assert "events (oslo)  ok" in told
    with urllib.request.urlopen(f"http://127.0.0.1:{here.port}/readyz") as answer:
        assert json.load(answer)["status"] == "ready"
    assert sorted(here.alive()) == ["tatu-api", "tatu-worker"]

    keystone = here.sections(here.files["keystone"])
    assert keystone["DEFAULT"]["notification_format"] == "basic"
    assert dict(keystone["oslo_messaging_notifications"]) == {
        "topics": "notifications,tatu",
        "driver": "messagingv2",
        "transport_url": here._environment["TRANSPORT_URL"],
    }
    neutron = here.sections(here.files["neutron"])
    assert neutron["oslo_messaging_notifications"]["topics"] == "notifications,designate,tatu"
    for name, wanted in (("nova", "versioned"), ("nova_cell1", "both")):
        nova = here.sections(here.files[name])
        assert nova["notifications"]["notification_format"] == wanted
        topics = nova["notifications"]["versioned_notifications_topics"]
        assert topics == "versioned_notifications,tatu"
        url = f"tatu@http://127.0.0.1:{here.port}/v2/vendordata/nova"
        assert nova["api"]["vendordata_dynamic_targets"] == url
        assert nova["vendordata_dynamic_auth"]["username"] == "tatu-vendordata"
        static = json.loads(Path(nova["api"]["vendordata_jsonfile_path"]).read_text())
        assert 'filename="tatu-enrol"' in static["cloud-init"]
    for service in ("nova", "neutron"):
        folder = here.folder / service
        text = (ROOT / f"etc/openstack/{service}-policy.yaml").read_text()
        assert (folder / "policy.d/tatu.yaml").read_text() == text
        assert (folder / "policy.yaml").is_file()
    for file in ("tatu.conf", "openstack.conf", "nova-vendordata.conf"):
        assert stat.S_IMODE((here.folder / "etc" / file).stat().st_mode) == 0o600
    assert stat.S_IMODE((here.folder / "data/tatu").stat().st_mode) == 0o700

    here.run("unstack")
    assert here.alive() == []
    here.run("clean")
    left = {path.name for path in here.folder.rglob("*") if "tatu" in path.name}
    assert left <= {"tatu", "tatu-api.log", "tatu-worker.log", "tatu-api.pid", "tatu-worker.pid"}


@pytest.mark.matrix
def test_without_barbican_keys_are_wrapped_in_the_ledger(devstack):
    here = devstack(TATU_USE_BARBICAN="False", TATU_DNS_ZONE_NAME="ssh.example.")
    told = here.run("stack install", "stack post-config", "stack test-config")
    assert "keystore (local) ok" in told
    tatu = here.sections(here.folder / "etc/tatu.conf")
    assert tatu["authority"]["dns_suffix"] == "{project}.ssh.example"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"SERVICE_HOST": "192.0.2.1"}, "enable_service tls-proxy"),
        ({"TATU_USE_BARBICAN": "True", "ENABLED_SERVICES": "keystone"}, "needs Barbican"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_installed(devstack, settings, why):
    here = devstack(**settings)
    assert why in here.run("stack pre-install", "stack install", status=1)
    assert not (here.folder / "calls").exists()


@pytest.mark.matrix
def test_behind_a_proxy_tatu_is_known_by_https_and_trusts_the_clouds_authority(devstack):
    here = devstack(
        SERVICE_HOST="192.0.2.1",
        ENABLED_SERVICES="keystone,rabbit,nova,barbican,tls-proxy",
        SSL_BUNDLE_FILE="/bundle.pem",
    )
    here.run("stack pre-install", "stack install", "stack post-config")
    tatu = here.sections(here.folder / "etc/tatu.conf")
    assert tatu["DEFAULT"]["api_endpoint"] == f"https://192.0.2.1:{here.port}"
    assert tatu["api"]["bind_port"] == "28322"
    assert tatu["authority"]["create_for_projects"] == "True"
    assert tatu["vendordata"]["api_endpoint_for_vms"] == "http://192.0.2.1:28322"
    assert tatu["barbican"]["verify_ssl_path"] == "/bundle.pem"
    nova = here.sections(here.files["nova"])
    assert nova["api"]["vendordata_dynamic_ssl_certfile"] == "/bundle.pem"
    assert nova["vendordata_dynamic_auth"]["cafile"] == "/bundle.pem"
