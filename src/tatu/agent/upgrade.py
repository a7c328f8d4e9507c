"""Upgrades: a later agent takes this one's place, if this host's operator and a release key agree.

Tatu can have no code run here (security.md S17): it may serve a release, and cannot sign one. What
decides is in the running agent, and in a file that is written on this host alone.
"""

from __future__ import annotations

import hashlib
import io
import pkgutil
import re
import zipfile
from pathlib import Path

from tatu.agent import VERSION, files, made, place, signatures, statement, unit
from tatu.agent.errors import AgentError, Malformed
from tatu.agent.http import Server
from tatu.agent.keys import public_key
from tatu.agent.layout import Layout
from tatu.agent.state import Store

MAX_SIZE = 4 * 2**20

_MAX_SIGNATURE = 16 * 2**10
_MAX_POLICY = 64
_ALL = 100
_PERCENT = re.compile(rb"(?:[1-9][0-9]?|100)%")
_VERSION = re.compile(r'^VERSION = "([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})"$', re.MULTILINE)


def from_file(path: Path) -> tuple[bytes, str]:
    """Return a release and its signature, which stands beside it; raises `AgentError`."""
    beside = path.with_name(path.name + ".sig")
    data, signature = files.read(path, MAX_SIZE), files.read(beside, _MAX_SIGNATURE)
    if data is None or signature is None:
        raise AgentError(f"there is no {path if data is None else beside}")
    return data, signature.decode("utf-8", "replace")


def from_server(store: Store) -> tuple[bytes, str]:
    """Return what Tatu offers as its newest, with the signature; raises `AgentError`."""
    state = store.load()
    if state is None:
        raise AgentError("this host is not enrolled: tatu-agent enrol")
    server = Server(state.url, state.ca_file, state.insecure_http)
    data = server.get("/v2/agent", limit=MAX_SIZE) or b""
    digest = hashlib.sha256(data).hexdigest()
    signature = server.get(f"/v2/agent/{digest}/signature", limit=_MAX_SIGNATURE) or b""
    return data, signature.decode("utf-8", "replace")


def upgrade(layout: Layout, data: bytes, signature: str) -> list[str]:
    """Put a release in this agent's place, and return what an operator should know.

    Where only a share of hosts may, and this is none of them, that is all that is said. Raises
    `AgentError`; then the agent is what it was.
    """
    share = _share(layout)
    signatures.verify(data, signature, _release_keys(), signatures.RELEASE)
    # Only what was signed is looked into
    version = _version(data)
    if version == VERSION:
        return [f"{VERSION} runs here already"]
    if share < _ALL and (turn := _turn(layout, version)) > share:
        return [f"release {version} is for the first {share}% of hosts, and this is in {turn}%"]
    if statement.numbers(version) <= statement.numbers(VERSION):
        raise AgentError(f"release {version} is not after {VERSION}, which runs here")
    program = layout.hooks / "tatu-agent"
    candidate = layout.hooks / "upgrade"
    files.write(candidate, data, 0o700)
    try:
        shown = signatures.run([str(candidate), "--version"])
        if shown.decode("utf-8", "replace") != f"tatu-agent {version}\n":
            raise AgentError(f"release {version} does not run here")
    finally:
        files.remove(candidate)
    place.put(layout, program, data, 0o755, MAX_SIZE)
    said = f"upgraded from {VERSION} to {version}"
    if not layout.systemd.is_dir():
        return [f"{said}: what runs goes on as {VERSION} until you start it again"]
    signatures.run(["systemctl", "try-restart", "--no-block", unit.NAME])
    return [said]


def _share(layout: Layout) -> int:
    """Return how many of a hundred hosts may upgrade; raises `AgentError` when none may."""
    found = (files.read(layout.upgrades, _MAX_POLICY) or b"").strip()
    if found == b"on":
        return _ALL
    if _PERCENT.fullmatch(found):
        return int(found[:-1])
    raise AgentError(
        f"upgrades are off on this host: write `on`, or a share as `10%`, into {layout.upgrades}"
    )


def _turn(layout: Layout, version: str) -> int:
    """Return among how many of a hundred this host is, other ones for each version.

    Raises `AgentError`: one that is not enrolled has no id to be told from others by.
    """
    state = Store(layout.state).load()
    if state is None:
        raise AgentError("this host is not enrolled: it is in no share of hosts")
    text = f"{state.authority}/{state.host} {version}".encode()
    return int(hashlib.sha256(text).hexdigest(), 16) % _ALL + 1


def settle(layout: Layout) -> None:
    """Have this agent where systemd runs it from, unless a later one is there.

    Raises `AgentError` when there is none, and this is not the one file that could be put there.
    """
    program = layout.hooks / "tatu-agent"
    own = Path(__file__).parents[2].resolve()
    there = files.read(program, MAX_SIZE)
    if own.is_file():
        if there is None or not _is_later(there):
            made.folder(layout, layout.hooks)
            place.put(layout, program, files.read(own, MAX_SIZE) or b"", 0o755, MAX_SIZE)
    elif there is None:
        raise AgentError(f"there is no {program}, and this agent is not one file: install one")


def _is_later(data: bytes) -> bool:
    try:
        return statement.numbers(_version(data)) > statement.numbers(VERSION)
    except Malformed:
        return False


def _release_keys() -> tuple[str, ...]:
    """Return the keys that this very agent was packed with; raises `AgentError` for none."""
    try:
        packed = pkgutil.get_data("tatu.agent", "release_keys.pub") or b""
    except OSError:  # it was not packed at all
        packed = b""
    lines = [line.split() for line in packed.decode("utf-8", "replace").splitlines()]
    keys = tuple(public_key(" ".join(words[:2])) for words in lines if words and words[0] != "#")
    if not keys:
        raise AgentError("this agent was packed without release keys: it takes no upgrade")
    return keys


def _version(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            text = archive.read("tatu/agent/__init__.py").decode()
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise Malformed("the release is no agent") from error
    found = _VERSION.search(text)
    if not found:
        raise Malformed("the release does not say its version")
    return found.group(1)
