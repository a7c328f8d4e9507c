"""Root file systems of hosts, built once by debootstrap and kept in `.cache/hosts`."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.lab.openstack.process import Failed
from tests.lab.openstack.venv import CACHE

_RECIPE = Path(__file__).with_name("image.sh")

IMAGES = {
    "bookworm": ("bookworm",),
    "trixie": ("trixie",),
    "backports": ("trixie", "openssh-server", "openssh-client", "openssh-sftp-server"),
}
"""Name: suite, and what is taken from its backports.  OpenSSH is 9.2, 10.0, and 10.3 or newer."""


def image(name: str) -> Path:
    """Return the folder of an image, which nobody may write to; an absent one is built first, in a minute or two."""
    suite, *backports = IMAGES[name]
    recipe = _RECIPE.read_bytes() + repr(IMAGES[name]).encode()
    folder = CACHE / "hosts" / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second finds it built
        if not folder.exists():
            for old in folder.parent.glob(f"{name}-*"):
                shutil.rmtree(old, ignore_errors=True)
            unfinished = folder.with_name(f"{folder.name}.new")
            _build(unfinished, suite, _mirror(), *backports)
            unfinished.rename(folder)
    return folder


def _build(folder, *arguments):
    log = folder.parent / f"{folder.name.partition('-')[0]}.log"
    with log.open("wb") as output:
        status = subprocess.run(
            ["unshare", "--mount", _RECIPE, folder, *arguments],  # what it mounts ends with it
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if status.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise Failed(f"image {folder.name} is not built", log)


def _mirror():
    """Return the Debian mirror that this machine installs from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for address in listed:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise RuntimeError("this machine has no Debian mirror among its package sources")
