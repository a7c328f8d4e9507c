"""The guides in docs: their blocks, and somebody who runs them as they stand, on a machine in a folder."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.lab.openstack.site import REGION

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent

_OURS = re.compile(r"(?<![\w./])/(?=(?:etc|srv|var)/)")


def blocks(guide, kind="sh"):
    """Return the blocks of a kind, such as `sh`, or `ini nova.conf`."""
    text = (ROOT / "docs" / guide).read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def sections(text):
    """Return the options of a configuration file by section."""
    parser = configparser.RawConfigParser(default_section="none")
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


class Somebody:
    """Whoever sits before a machine with these clouds; `instead` is what the guide's examples are here."""

    def __init__(self, folder, clouds, instead, **environment):
        self.folder, self._instead = folder, instead
        (folder / ".config/openstack").mkdir(parents=True)
        file = folder / ".config/openstack/clouds.yaml"
        file.write_text(yaml.safe_dump({"clouds": clouds}))
        self.environment = {
            "HOME": str(folder),
            "PATH": f"{folder}/bin:{PROGRAMS}:/usr/sbin:{os.defpath}",
            "LC_ALL": "C.UTF-8",
            **environment,
        }

    def here(self, text):
        """Return a text of the guide with what its examples are here."""
        for example, ours in self._instead.items():
            text = text.replace(example, ours)
        return _OURS.sub(f"{self.folder}/", text)

    def run(self, commands, status=0):
        """Run a block; return what it printed, or why it failed if it should."""
        done = subprocess.run(
            ["sh", "-eu"],
            input=self.here(commands),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        logs = [log.read_text()[-4000:] for log in self.folder.glob("*.log")]
        shown = (self.here(commands), done.stdout, done.stderr, *logs)
        assert done.returncode == status, "\n".join(shown)
        return done.stderr if status else done.stdout


def administrator(lab):
    """Return the lab's administrator as clouds.yaml has them."""
    auth = {
        "auth_url": lab.keystone_url,
        "username": "admin",
        "password": lab.admin_password,
        "user_domain_id": "default",
        "project_name": "admin",
        "project_domain_id": "default",
    }
    return {"auth": auth, "region_name": REGION}
