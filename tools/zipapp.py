"""Build the host agent as one executable file, the same bytes from the same sources."""

import stat
import sys
import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)
MAIN = "import sys\nfrom tatu.agent.main import main\nsys.exit(main())\n"


def build(source: Path, target: Path) -> None:
    """Pack the agent's package into `target`, ready to be run by the system's Python."""
    files = {"__main__.py": MAIN, "tatu/__init__.py": ""}
    for path in sorted(source.rglob("*.py")):
        files[f"tatu/agent/{path.relative_to(source).as_posix()}"] = path.read_text()
    with target.open("wb") as out:
        out.write(b"#!/usr/bin/python3 -IS\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in sorted(files.items()):
                archive.writestr(zipfile.ZipInfo(name, EPOCH), text, zipfile.ZIP_DEFLATED)
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
