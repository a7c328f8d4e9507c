"""The host agent as one executable file: the same bytes from the same sources, whoever packs them.

Nothing is compressed, for compressors differ. Where nothing is installed, it is packed by
`PYTHONPATH=src python3 -m tatu.agentfile FILE`.
"""

import hashlib
import io
import stat
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).parent / "agent"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\nfrom tatu.agent.main import main\nsys.exit(main())\n"
_RELEASE_KEYS = "release_keys.pub"
_SIGNATURE = ".sig"


@dataclass(frozen=True)
class Agent:
    """An agent that hosts may fetch, named by the SHA-256 of its bytes, in hex.

    `signature` is that of the offline release key (`release@tatu`), if it has one (S17).
    """

    data: bytes
    signature: str = ""

    @property
    def digest(self) -> str:
        """Its name."""
        return hashlib.sha256(self.data).hexdigest()


def packed(release_keys: bytes = b"") -> bytes:
    """Pack this version's agent; whoever has one of the keys may replace it by a later one."""
    files = {"__main__.py": _MAIN.encode(), "tatu/__init__.py": b""}
    for path in (*_SOURCE.rglob("*.py"), *_SOURCE.glob("*.sh")):
        files[f"tatu/agent/{path.relative_to(_SOURCE).as_posix()}"] = path.read_bytes()
    files[f"tatu/agent/{_RELEASE_KEYS}"] = release_keys
    out = io.BytesIO(b"#!/usr/bin/python3 -IS\n")
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return out.getvalue()


def write(target: Path, release_keys: bytes = b"") -> None:
    """Pack the agent into a file, ready to be run by the system's Python."""
    target.write_bytes(packed(release_keys))
    target.chmod(target.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def offered(release_keys: Path | None, folder: Path | None) -> tuple[Agent, ...]:
    """Return this version's agent, and behind it the others in a folder.

    A signature stands beside its agent, with `.sig` at the end of its name; this version's is
    there, too. Raises OSError, or ValueError for a signature that is not ASCII.
    """
    own = packed(release_keys.read_bytes() if release_keys else b"")
    found = {own: ""}
    for path in sorted(folder.iterdir()) if folder else ():
        if path.suffix != _SIGNATURE:
            beside = path.with_name(path.name + _SIGNATURE)
            found[path.read_bytes()] = beside.read_text("ascii") if beside.exists() else ""
    return tuple(Agent(data, signature) for data, signature in found.items())


if __name__ == "__main__":
    keys = b"".join(Path(name).read_bytes() for name in sys.argv[2:])
    write(Path(sys.argv[1]), keys)
