"""What hosts boot from: built once by debootstrap, kept in `.cache/hosts`, and written to by nobody."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.lab.openstack.process import Failed
from tests.lab.openstack.venv import CACHE

_FOLDER = CACHE / "hosts"
_IMAGE = Path(__file__).with_name("image.sh")
_VM = Path(__file__).with_name("vm.sh")

IMAGES = {
    "bookworm": ("bookworm",),
    "trixie": ("trixie",),
    "backports": ("trixie", "openssh-server", "openssh-client", "openssh-sftp-server"),
    "podman": ("trixie", "podman", "uidmap"),
}
"""Name: suite, and what is added, from its backports if it is there.  OpenSSH is 9.2, 10.0, 10.3 or newer, and 10.0."""


def image(name: str) -> Path:
    """Return the root file system of an image; an absent one is built first, in a minute or two."""
    suite, *backports = IMAGES[name]
    recipe = hashlib.sha256(_IMAGE.read_bytes() + repr(IMAGES[name]).encode())
    return _kept(name, recipe, lambda folder: [_IMAGE, folder, suite, _mirror(), *backports])


def vm(name: str) -> Path:
    """Return the folder with disk, kernel and first RAM disk of an image's virtual machine."""
    base = image(name)
    recipe = hashlib.sha256(_VM.read_bytes() + base.name.encode())
    return _kept(f"vm.{name}", recipe, lambda folder: [_VM, folder, base])


def _kept(name, recipe, command):
    """Return a folder that a command makes when this recipe of it was not followed yet."""
    folder = _FOLDER / f"{name}-{recipe.hexdigest()[:12]}"
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / f"{name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second finds it built
        if not folder.exists():
            for old in _FOLDER.glob(f"{name}-*"):
                shutil.rmtree(old, ignore_errors=True)
            unfinished = folder.with_name(f"{folder.name}.new")
            _build(command(unfinished), _FOLDER / f"{name}.log")
            unfinished.rename(folder)
    return folder


def _build(command, log):
    with log.open("wb") as output:
        status = subprocess.run(
            ["unshare", "--mount", *command],  # what it mounts ends with it
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if status.returncode:
        raise Failed(f"{log.stem} is not built", log)


def _mirror():
    """Return the Debian mirror that this machine installs from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for address in listed:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise RuntimeError("this machine has no Debian mirror among its package sources")
