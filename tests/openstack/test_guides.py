"""The installation guide for an OpenStack: its commands are run in their order, its settings are the lab's."""

import json
import stat
import urllib.request

import pytest

from tests.fakes.instance import script_of
from tests.lab.openstack.site import POLICIES
from tests.lab.server import free_port
from tests.openstack.guides import PROGRAMS, Somebody, administrator, blocks, sections

GUIDE = "operations/openstack.md"

# What a machine has and a test has not: a service manager, the user tatu, and configuration in /etc.
PROGRAM = """\
#!/bin/sh -eu
etc={folder}/etc/tatu
case "$*" in
"openstack register "*)
    set -- "$@" --tatu-file "$etc/tatu.conf.d/openstack.conf" --nova-file "$etc/nova-vendordata.conf"
    ;;
*) set -- --config-file "$etc/tatu.conf" --config-dir "$etc/tatu.conf.d" "$@" ;;
esac
exec {programs}/{name} "$@"
"""
SYSTEMCTL = """\
#!/bin/sh -eu
command=$1
for unit; do
    case "$command $unit" in
    "$unit $unit" | *" --now") ;;
    "enable tatu-"* | "start tatu-"*)
        setsid "$unit" >>{folder}/"$unit".log 2>&1 </dev/null &
        echo $! >{folder}/"$unit".pid
        ;;
    "stop tatu-"*)
        kill "$(cat {folder}/"$unit".pid)"
        while kill -0 "$(cat {folder}/"$unit".pid)" 2>/dev/null; do sleep 0.05; done
        rm {folder}/"$unit".pid
        ;;
    *) exit 1 ;;
    esac
done
"""
CHOWN = """\
#!/bin/sh -eu
test "$1" = tatu: -a -e "$2"
"""


class Operator(Somebody):
    """The cloud's administrator on the machine that Tatu is installed on."""

    def __init__(self, lab, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        instead = {
            "https://tatu.example.org": self.url,
            "postgresql://tatu:PASSWORD@db.example.org/tatu": f"sqlite:///{folder}/tatu.db",
            "rabbit://tatu:PASSWORD@mq.example.org:5672/": lab.transport_url,
            "8322": str(self.port),
        }
        super().__init__(folder, {"admin": administrator(lab)}, instead)
        for name in ("bin", "var/lib/tatu"):
            (folder / name).mkdir(parents=True)
        programs = {
            name: PROGRAM.replace("{name}", name)
            for name in ("tatu-api", "tatu-worker", "tatu-manage", "tatu-status")
        }
        for name, text in {**programs, "systemctl": SYSTEMCTL, "chown": CHOWN}.items():
            script = folder / "bin" / name
            script.write_text(
                text.replace("{folder}", str(folder)).replace("{programs}", str(PROGRAMS))
            )
            script.chmod(0o755)


@pytest.fixture(scope="module")
def operator(compute_lab, tmp_path_factory):
    """An operator who followed the guide to its end, and what each block printed."""
    identity = compute_lab.cloud().identity
    for user in identity.users():  # whoever follows the guide is the first in this cloud
        if user.name in {"tatu", "tatu-vendordata"}:
            identity.delete_user(user)
    found = Operator(compute_lab, tmp_path_factory.mktemp("operator"))
    try:
        found.said = [found.run(block) for block in blocks(GUIDE)]
        yield found
    finally:
        for pid in found.folder.glob("*.pid"):
            found.run(f"systemctl stop {pid.stem}")


def said(operator, words):
    """Return what the block with these words printed."""
    (found,) = (
        text for block, text in zip(blocks(GUIDE), operator.said, strict=True) if words in block
    )
    return found


def test_whoever_follows_the_guide_has_a_deployment_that_answers(operator):
    checked = said(operator, "tatu-manage check")
    for part in ("keystore (castellan)", "identity (keystone)", "inventory"):
        assert any(
            line.startswith(part) and line.endswith("ok") for line in checked.splitlines()
        ), checked
    with urllib.request.urlopen(f"{operator.url}/readyz", timeout=60) as answer:
        assert json.load(answer)["status"] == "ready"
    assert "compared in" in said(operator, "tatu-manage reconcile")
    assert said(operator, "tatu-manage brake list") == "0 held\n"
    assert "Success" in said(operator, "tatu-status upgrade check")


def test_passwords_are_their_owners_alone_and_policies_are_in_place(operator):
    etc = operator.folder / "etc"
    for name in ("tatu.conf.d/openstack.conf", "nova-vendordata.conf"):
        assert stat.S_IMODE((etc / "tatu" / name).stat().st_mode) == 0o600
    for service in ("nova", "neutron"):
        there = (etc / service / "policy.d/tatu.yaml").read_text()
        assert there == (POLICIES / f"{service}-policy.yaml").read_text()
        assert (etc / service / "policy.yaml").exists()


def test_nova_is_given_a_script_for_instances(operator):
    text = (operator.folder / "etc/nova/tatu-vendordata.json").read_text()
    script = script_of(json.loads(text))
    assert f"AGENT_URL={operator.url}/v2/agent/" in script


@pytest.mark.parametrize("service", ["keystone", "nova", "neutron"])
def test_the_lab_notifies_by_the_settings_of_the_guide(compute_lab, service):
    (text,) = blocks(GUIDE, f"ini {service}.conf")
    real = sections((compute_lab.folder / service / f"{service}.conf").read_text())
    for section, told in sections(text).items():
        assert told == {name: real[section][name] for name in told}
