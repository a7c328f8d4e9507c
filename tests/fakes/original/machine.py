"""A machine of the original: its files in a folder, and the scripts that cloud-init runs there."""

import os
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parent
DEADLINE = 60


def keygen(*arguments):
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class Machine:
    """A machine whose config drive has these texts, as Nova writes them."""

    def __init__(self, root: Path, meta_data: str, vendor_data: str) -> None:
        self.root = root
        self.ssh = root / "etc/ssh"
        drive = root / "mnt/config/openstack/latest"
        for folder in (self.ssh, drive, root / "tmp"):
            folder.mkdir(parents=True)
        (drive / "meta_data.json").write_text(meta_data)
        (drive / "vendor_data2.json").write_text(vendor_data)
        keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "root@vm", "-f", self.host_key)

    @property
    def host_key(self) -> Path:
        return self.ssh / "ssh_host_rsa_key"

    @property
    def facts(self) -> dict[str, str]:
        """What the script read from the drive."""
        lines = (self.root / "facts").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def run(self, script: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", SCRIPTS / script],
            env={**os.environ, "ROOT": str(self.root), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
