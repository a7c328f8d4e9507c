"""Where OpenStack's services are installed: one environment, made by `tools/setup.sh openstack`."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]

CONSTRAINTS = Path(__file__).with_name("constraints.txt")
"""The exact versions of the release."""

CACHE = ROOT / ".cache"

VENV = CACHE / "openstack"


def program(name: str) -> Path:
    """Return an installed program; raises RuntimeError that says what to run when it is missing."""
    found = VENV / "bin" / name
    if not found.exists():
        raise RuntimeError(f"{name} is not installed: run tools/setup.sh openstack")
    return found


def environment(folder: Path) -> dict[str, str]:
    """Return what a service may know of our environment: where programs are, and a home of its own."""
    path = os.pathsep.join(
        [str(VENV / "bin"), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
    )
    return {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": f"{path}{os.pathsep}/sbin{os.pathsep}/bin",
        "PYTHONWARNINGS": "ignore",  # theirs to mend; a log is for what went wrong
        "TMPDIR": str(folder),
    }
