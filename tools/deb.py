"""Build the host agent's package for Debian: `PYTHONPATH=src python3 -m tools.deb build`.

By dpkg-deb alone; the agent in it is the very file that the API serves.
"""

import gzip
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tatu import agentfile
from tatu.agent import VERSION, unit

_ROOT = Path(__file__).parents[1]
_SCRIPTS = _ROOT / "contrib/debian"
_PROGRAM = "usr/lib/tatu-agent/tatu-agent"
_CONTROL = """\
Package: tatu-agent
Version: {version}
Architecture: all
Maintainer: The Tatu project
Section: admin
Priority: optional
Depends: python3 (>= 3.9), openssh-server (>= 1:8.2), openssh-client (>= 1:8.2)
Recommends: sudo, libpam-systemd
Description: keep sshd in step with a Tatu authority
 Enrols this machine with a Tatu authority, once, by a token; from then on sshd takes the
 certificates that the authority issues, and nothing that it revoked.
"""


def build(target: Path, release_keys: bytes = b"") -> Path:
    """Build the package in a folder; return its path."""
    package = target / f"tatu-agent_{VERSION}_all.deb"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        for path in (
            "DEBIAN",
            _PROGRAM,
            "usr/sbin",
            "usr/lib/systemd/system",
            "usr/share/man/man8",
        ):
            folder = root / path
            (folder.parent if path == _PROGRAM else folder).mkdir(parents=True, exist_ok=True)
        agentfile.write(root / _PROGRAM, release_keys)
        (root / "usr/sbin/tatu-agent").symlink_to("../lib/tatu-agent/tatu-agent")
        service = root / "usr/lib/systemd/system" / unit.NAME
        service.write_text(unit.text(f"/{_PROGRAM}", ()))
        page = (_ROOT / "docs/man/tatu-agent.8").read_bytes()
        (root / "usr/share/man/man8/tatu-agent.8.gz").write_bytes(gzip.compress(page, mtime=0))
        (root / "DEBIAN/control").write_text(_CONTROL.format(version=VERSION))
        for script in sorted(_SCRIPTS.iterdir()):
            shutil.copy(script, root / "DEBIAN" / script.name)
        for path in [root, *root.rglob("*")]:
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "DEBIAN" or path == root / _PROGRAM
                path.chmod(0o755 if runs and path.name != "control" else 0o644)
        command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(package)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return package


if __name__ == "__main__":
    keys = b"".join(Path(name).read_bytes() for name in sys.argv[2:])
    sys.stdout.write(f"{build(Path(sys.argv[1]), keys)}\n")
