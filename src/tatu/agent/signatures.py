"""What ssh-keygen does for the agent: signatures, and the check of what sshd will read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tatu.agent.errors import AgentError, Malformed

STATEMENT = "statement@tatu"
ENROL = "enrol@tatu"
HOST = "host@tatu"
SUDO = "sudo@tatu"
RELEASE = "release@tatu"

_TIMEOUT = 30
_AT_ONCE = 100
"""Certificates: each is an open file."""
_MAX_SIGNATURE = 16 * 2**10
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}


def run(
    arguments: Sequence[str],
    data: bytes = b"",
    what: str = "",
    files: Sequence[int] = (),
    codes: Sequence[int] = (0,),
) -> bytes:
    """Run a program in a plain environment, and return what it printed.

    Raises `AgentError` with the last line it wrote when it ends with none of the exit codes.

    The environment is not passed on: the token may be in it.
    """
    try:
        done = subprocess.run(
            arguments,
            input=data,
            capture_output=True,
            env=_ENVIRONMENT,
            timeout=_TIMEOUT,
            check=False,
            pass_fds=files,
        )
    except FileNotFoundError as error:
        raise AgentError(f"{arguments[0]} is not installed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError(f"{what or arguments[0]} did not end: {type(error).__name__}") from error
    if done.returncode not in codes:
        lines = (done.stderr or done.stdout).decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
        raise AgentError(f"{what or arguments[0]} failed: {ascii(said)[1:-1][:300]}")
    return done.stdout


def verify(message: bytes, signature: str, keys: Sequence[str], namespace: str) -> None:
    """Raise `AgentError` unless one of the keys signed the message for this purpose."""
    if len(signature) > _MAX_SIGNATURE or not signature.isascii():
        raise Malformed("this is no signature")
    signers = "".join(f'tatu namespaces="{namespace}" {key}\n' for key in keys)
    with _in_memory(signers) as allowed, _in_memory(signature) as armored:
        what = f"the check of the {namespace.partition('@')[0]}'s signature"
        named = ["-f", f"/dev/fd/{allowed}", "-s", f"/dev/fd/{armored}"]
        arguments = ["ssh-keygen", "-Y", "verify", *named, "-I", "tatu", "-n", namespace]
        run(arguments, message, what, files=(allowed, armored))


@contextmanager
def _in_memory(data: str | bytes) -> Iterator[int]:
    """Hold a text as an open file: what is on no disk, a killed run leaves on none."""
    with os.fdopen(os.memfd_create("tatu-agent"), "wb") as opened:
        opened.write(data if isinstance(data, bytes) else data.encode())
        opened.flush()
        yield opened.fileno()


def sign(message: bytes, private_key: Path, namespace: str) -> str:
    """Return the armored signature of a host key; raises `AgentError`."""
    what = f"signing with {private_key}"
    arguments = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(private_key), "-n", namespace]
    return run(arguments, message, what).decode("ascii")


def check_certificate(line: str) -> None:
    """Raise `AgentError` unless its signature key signed the certificate."""
    run(["ssh-keygen", "-L", "-f", "-"], line.encode() + b"\n", "the check of a host certificate")


def check_krl(path: Path) -> None:
    """Raise `AgentError` unless sshd will be able to read the list: it would let nobody in."""
    run(["ssh-keygen", "-Q", "-l", "-f", str(path)], what="the check of the revocation list")


def is_revoked(line: str, krl: Path) -> bool:
    """Say whether the list has the certificate; raises `AgentError` when that cannot be told."""
    return bool(revoked([line], krl))


def revoked(lines: Iterable[str], krl: Path | bytes) -> frozenset[str]:
    """Return the certificates that the list has; raises `AgentError` when it cannot be told.

    The list is a file, or bytes: what there is no room for on a disk is asked all the same.
    """
    listed, found = sorted(set(lines)), set[str]()
    for begin in range(0, len(listed), _AT_ONCE):
        with ExitStack() as stack:
            part = listed[begin : begin + _AT_ONCE]
            opened = [stack.enter_context(_in_memory(line + "\n")) for line in part]
            paths = [f"/dev/fd/{file}" for file in opened]
            if isinstance(krl, bytes):
                opened.append(stack.enter_context(_in_memory(krl)))
                krl_file = f"/dev/fd/{opened[-1]}"
            else:
                krl_file = str(krl)
            arguments = ["ssh-keygen", "-Q", "-f", krl_file, *paths]
            what = "the look for certificates in the revocation list"
            printed = run(arguments, what=what, files=opened, codes=(0, 1)).decode().splitlines()
        # `PATH (COMMENT): ok`; the lines have no comment that could say otherwise
        said = {text.split(" ")[0].rstrip(":"): text.rpartition(": ")[2] for text in printed}
        for path, line in zip(paths, part):
            if said.get(path) not in ("ok", "REVOKED"):
                raise AgentError(f"{what} found no answer")
            if said[path] == "REVOKED":
                found.add(line)
    return frozenset(found)
