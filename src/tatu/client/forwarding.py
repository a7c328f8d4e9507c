"""The agent that sudo may ask is opened for one login, beside ssh, and ends with it.

What the agent itself needs is loaded by its own process, while ssh is on its way.
"""

import os
import re
import shutil
import socket
from pathlib import Path

from tatu.core.errors import NotFound

_PATIENCE = 1.0
_PLAIN = re.compile(r"/[A-Za-z0-9/._-]{1,60}")  # ssh expands others; a socket's path is short


def options(
    folder: str, host: str, environment: dict[str, str], *, confirm: bool
) -> list[tuple[str, str]]:
    """Open the agent for a host; return the options of ssh that forward it.

    `environment` is ssh's, and is changed. Whoever confirms was found before, by `check_asking`.
    """
    path = _open(folder, host, confirm=confirm)
    # ssh forwards nothing unless an agent answers it, and then another than this one
    if not _answers(environment.get("SSH_AUTH_SOCK", "")):
        environment["SSH_AUTH_SOCK"] = path
    return [
        ("ForwardAgent", path),
        ("IdentityAgent", "SSH_AUTH_SOCK"),
        # a master that is there already forwards what it was told to
        ("ControlPath", "none"),
    ]


def check_asking() -> None:
    """Raise `NotFound` unless there is a program that can ask whoever is here.

    At the terminal nobody is asked: the host writes there as well, and what is typed goes to it.
    """
    program = os.environ.get("SSH_ASKPASS", "")
    if shutil.which(program) is None:
        named = f"{program!r}, which is no program" if program else "none"
        raise NotFound(
            f"--confirm-sudo asks by the program that SSH_ASKPASS names: it names {named};"
            " install one that opens a window, as ssh-askpass, and name it"
        )


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(_PATIENCE)
        try:
            tried.connect(path)
        except (OSError, ValueError):
            return False
    return True


def _open(folder: str, host: str, *, confirm: bool) -> str:
    """Have a process of its own answer for as long as this one, or what it becomes, is there."""
    certificate = (Path(folder) / "id_ed25519-cert.pub").read_text()
    base = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if not _PLAIN.fullmatch(str(base)) or not base.is_dir():
        base = Path("/tmp")  # noqa: S108 -- the folder in it is new, and ours alone
    place = base / f"tatu-{os.urandom(8).hex()}"
    place.mkdir(0o700)
    path = place / "agent"
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    listener.bind(str(path))
    os.umask(mask)
    listener.listen()
    login = os.getpid()
    if os.fork():
        listener.close()
        return str(path)
    try:
        _serve(listener, Path(folder), certificate, host, login, confirm=confirm)
    finally:
        path.unlink()
        place.rmdir()
        os._exit(0)


def _serve(
    listener: socket.socket, state: Path, line: str, host: str, login: int, *, confirm: bool
) -> None:
    """Answer, away from the terminal and from all that the login has open."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    at = listener.fileno()
    os.closerange(3, at)  # a pipe that the shell waits for, the turn of others
    os.closerange(at + 1, os.sysconf("SC_OPEN_MAX"))
    # ssh is on its way meanwhile
    from tatu.client import agentfilter  # noqa: PLC0415
    from tatu.core.certificate import Certificate  # noqa: PLC0415

    certificate = Certificate.parse(line)
    filtering = agentfilter.AgentFilter(
        host=host,
        certificate=certificate,
        sign=agentfilter.signer(state, certificate),
        confirm=agentfilter.by_askpass if confirm else agentfilter.without_question,
    )
    agentfilter.serve(listener, filtering, lambda: os.getppid() != login)
