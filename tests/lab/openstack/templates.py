"""First databases, made once for the installed versions and copied for each lab."""

import fcntl
import hashlib
import inspect
import os
import shutil

from tests.lab.openstack.venv import CACHE, CONSTRAINTS

_FOLDER = CACHE / "openstack-templates"


def copy(name, make, into, *parts):
    """Fill a folder with what `make(folder)` made, which must not depend on ports or folders.

    It is made again when the versions change, or the text of `make` or of the functions and values that it uses.
    """
    _FOLDER.mkdir(parents=True, exist_ok=True)
    texts = [inspect.getsource(part) if callable(part) else repr(part) for part in (make, *parts)]
    key = hashlib.sha256("".join([CONSTRAINTS.read_text(), *texts]).encode()).hexdigest()
    template = _FOLDER / f"{name}-{key[:16]}"
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
