"""First databases, made once for the installed versions and copied for each lab."""

import fcntl
import hashlib
import inspect
import os
import shutil
from pathlib import Path

from tests.lab.openstack.venv import CACHE, CONSTRAINTS

_FOLDER = CACHE / "openstack-templates"


def copy(name, make, into):
    """Fill a folder with what `make(folder)` made, which must not depend on ports or folders."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    source = Path(inspect.getsourcefile(make)).read_bytes()
    key = hashlib.sha256(CONSTRAINTS.read_bytes() + source).hexdigest()[:16]
    template = _FOLDER / f"{name}-{key}"
    # another lab may make it at this moment, or would remove it under our hands
    with (_FOLDER / f"{name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            for old in _FOLDER.glob(f"{name}-*"):
                shutil.rmtree(old)
            part = _FOLDER / f"{name}-part-{os.getpid()}"
            part.mkdir()
            make(part)
            part.rename(template)
        shutil.copytree(template, into, dirs_exist_ok=True)
