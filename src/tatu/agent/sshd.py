"""sshd: our part of its configuration, the proof that it takes effect, and the reload."""

from __future__ import annotations

import glob
import itertools
import os
import re
import shlex
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tatu.agent import block, files, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.signatures import run
from tatu.agent.text import WRITTEN

_DIRECTIVE = re.compile(r'\s*"?(\w+)"?[\s=]+(.*)')
MAX_CONFIG = 2**20
_MAX_DEPTH = 16  # as in sshd's servconf.c
_FROM = ("127.0.0.1", "10.0.0.1", "203.0.113.1", "::1")
_LISTENING = re.compile(r"\[?([^\[\]]+?)\]?:(\d+)(?: |$)")
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (looked for, not bound)
_MAX_ADDRESSES = 16
_SILENCE = 2.0
_PATIENCE = 5.0
_UNITS = ("ssh.service", "sshd.service")  # Debian's name, and everybody else's
_PID_FILES = ("/run/sshd.pid", "/var/run/sshd.pid")


@dataclass(frozen=True)
class BreakGlass:
    """The account that offline keys open, and the command that says by which certificates."""

    account: str
    command: str


@dataclass(frozen=True)
class Wanted:
    """What the drop-in is to say; `refusing` shows the notice to whoever tries to log in."""

    certificates: tuple[Path, ...]
    break_glass: BreakGlass | None
    refusing: bool


def _settings(layout: Layout, wanted: Wanted, account: str | None = None) -> dict[str, str]:
    """Return what holds for managed accounts: our certificates, and no other way in (S13).

    The authorities stand here and not for everybody: elsewhere a principal `root` would log in as
    root, and a list that cannot be read would keep the administrators out as well. Offline keys
    open the break-glass account alone, and no others open it: a principal does not tell who
    certified it (S20).
    """
    offline = wanted.break_glass
    if offline and account == offline.account:
        certified = {
            "TrustedUserCAKeys": str(layout.break_glass_authorities),
            "AuthorizedPrincipalsFile": "none",
            "AuthorizedPrincipalsCommand": offline.command,
            "AuthorizedPrincipalsCommandUser": "root",
        }
    else:
        certified = {
            "TrustedUserCAKeys": str(layout.user_authorities),
            "AuthorizedPrincipalsFile": f"{layout.principals}/%u",
            "AuthorizedPrincipalsCommand": "none",
        }
    return {
        **certified,
        "RevokedKeys": str(layout.krl),
        "AuthorizedKeysFile": "none",
        "AuthorizedKeysCommand": "none",
        "AuthenticationMethods": "publickey",
        "PubkeyAuthentication": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "HostbasedAuthentication": "no",
        "GSSAPIAuthentication": "no",
        "PermitUserRC": "no",
        "LogLevel": "VERBOSE",  # only then sshd names the certificate that it refuses
        **({"Banner": str(layout.notice)} if wanted.refusing else {}),
    }


def drop_in(layout: Layout, wanted: Wanted) -> bytes:
    """Return the drop-in: host certificates for all, the rest for managed accounts."""
    lines = [WRITTEN, ""]
    lines += [f"HostCertificate {path}" for path in wanted.certificates]
    # of two blocks that fit sshd takes the first
    for account in [wanted.break_glass.account, None] if wanted.break_glass else [None]:
        user = f"User {account} " if account else ""
        lines += ["", f"Match {user}Group {layout.group}"]
        settings = _settings(layout, wanted, account)
        lines += [f"    {name} {value}" for name, value in settings.items()]
    return ("\n".join(lines) + "\n").encode()


def check(layout: Layout, candidate: bytes) -> None:
    """Raise `AgentError` unless sshd takes the drop-in with the rest of its configuration.

    The candidate is read before the rest, as it will be, from where no sshd looks: were it put in
    place untested, a reboot at the wrong moment would leave a machine without sshd.
    """
    tried, part = layout.state / "sshd_config", layout.state / "candidate.conf"
    files.write(part, candidate, 0o600)
    lines = f"Include {part}\nInclude {layout.sshd_config}\n"
    files.write(tried, lines.encode(), 0o600)
    run([layout.sshd, "-t", "-f", str(tried)], what="sshd -t")


def check_order(layout: Layout) -> None:
    """Raise `AgentError` unless sshd reads our drop-in before any `Match` block.

    Of two blocks that fit sshd takes the first; one for some addresses, times or versions could
    not be found by asking what holds for others.
    """
    drop_in = os.path.realpath(layout.drop_in)
    for path, keyword in _read_before(layout.sshd_config, 0):
        if os.path.realpath(path) == drop_in:
            return
        if keyword == "match":
            raise AgentError(f"{path} has a `Match` block before {layout.drop_in} is read")
    raise AgentError(
        f"sshd does not read {layout.drop_in}: `Include {layout.drop_in.parent}/*.conf` "
        f"must stand at the top of {layout.sshd_config}"
    )


def include(layout: Layout) -> bool:
    """Have sshd read our drop-in, and say whether that took a block in its main file.

    It takes none where the distribution includes the folder, as most do.
    """
    text = files.read(layout.sshd_config, MAX_CONFIG) or b""
    plain = block.without(text)
    drop_in = os.path.realpath(layout.drop_in)
    reads = _read_before(layout.sshd_config, 0, plain)
    if any(os.path.realpath(path) == drop_in for path, _ in reads):
        _put_config(layout, plain)
        return False
    _put_config(layout, block.first([f"Include {layout.drop_in}"], plain))
    return True


def exclude(layout: Layout) -> None:
    """Take our block out of sshd's main file, if it is there."""
    _put_config(layout, block.without(files.read(layout.sshd_config, MAX_CONFIG) or b""))


def _put_config(layout: Layout, data: bytes) -> None:
    if layout.sshd_config.exists():
        place.put(layout, layout.sshd_config, data, place.mode(layout.sshd_config))


def read(layout: Layout) -> list[tuple[str, bytes | None]]:
    """Return all that sshd's configuration depends on: its files, and which sshd it is."""
    program = Path(layout.sshd).stat()
    paths = [path for path, keyword in _read_before(layout.sshd_config, 0) if not keyword]
    return [
        (f"{layout.sshd} {program.st_ino} {program.st_mtime_ns}", None),
        *((str(path), files.read(path.resolve(), MAX_CONFIG)) for path in paths),
    ]


def _read_before(path: Path, depth: int, data: bytes | None = None) -> Iterator[tuple[Path, str]]:
    """Yield each file as sshd comes to it, with "", and the keywords of its lines."""
    yield path, ""
    if depth > _MAX_DEPTH:
        raise AgentError(f"{path} is included too deep")
    if data is None:
        data = files.read(path.resolve(), MAX_CONFIG) or b""
    for found in map(_DIRECTIVE.match, data.decode(errors="replace").split("\n")):
        if found is None:
            continue
        keyword = found[1].lower()
        yield path, keyword
        if keyword == "include":
            for included in _included(path, found[2]):
                yield from _read_before(included, depth + 1)


def _included(path: Path, patterns: str) -> Iterator[Path]:
    """Yield the files of an `Include` in sshd's order: relative ones are in /etc/ssh."""
    try:
        words = shlex.split(patterns, comments=True)
    except ValueError as error:
        raise AgentError(f"{path}: `Include {patterns}` cannot be read") from error
    for word in words:
        # a pattern may be absolute, and sshd takes its names by their bytes
        yield from map(Path, sorted(glob.glob(str(Path("/etc/ssh", word)))))  # noqa: PTH207


def prove(layout: Layout, wanted: Wanted, accounts: Sequence[str]) -> None:
    """Raise `AgentError` unless the configuration in place has the effect that was meant."""
    check_order(layout)
    # which account is asked for does not matter to what stands outside of Match blocks
    shown = effective(layout)
    for path in wanted.certificates:
        if ("hostcertificate", str(path)) not in shown:
            raise AgentError(f"sshd would not use `HostCertificate {path}`")
    addresses = _FROM if _is_divided(layout) else _FROM[:1]
    for account, address in itertools.product(accounts, addresses):
        criteria = f"user={account},host=localhost,addr={address},laddr=127.0.0.1,lport=22"
        shown = effective(layout, ["-C", criteria])
        for name, value in _settings(layout, wanted, account).items():
            # sshd does not show what it was built without
            if name != "GSSAPIAuthentication" and (name.lower(), value) not in shown:
                raise AgentError(
                    f"sshd would not use `{name} {value}` for the account {account}: "
                    f"something before {layout.drop_in} says otherwise"
                )


def _is_divided(layout: Layout) -> bool:
    """Say whether others than we have `Match` blocks: only by those it matters where one is."""
    ours = os.path.realpath(layout.drop_in)
    read = _read_before(layout.sshd_config, 0)
    return any(word == "match" and os.path.realpath(path) != ours for path, word in read)


def effective(layout: Layout, arguments: Sequence[str] = ()) -> set[tuple[str, str]]:
    """Return the directives in force, outside of `Match` blocks or for what the arguments say."""
    command = [layout.sshd, "-T", "-f", str(layout.sshd_config), *arguments]
    lines = run(command, what="sshd -T").decode(errors="replace").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {(name, value) for name, _, value in pairs}


def answering(layout: Layout) -> list[tuple[str, int]]:
    """Return the addresses at which sshd greets now, of those that it is told to listen on."""
    found = []
    for name, value in sorted(effective(layout)):
        address = _LISTENING.match(value) if name == "listenaddress" else None
        if address:
            found.append((_EVERYWHERE.get(address[1], address[1]), int(address[2])))
    return [address for address in found[:_MAX_ADDRESSES] if _greets(address)]


def _greets(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, _SILENCE) as connection:
            return connection.recv(4, socket.MSG_WAITALL) == b"SSH-"
    except OSError:
        return False


def check_answers(addresses: Sequence[tuple[str, int]]) -> None:
    """Raise `AgentError` unless sshd greets at all of these addresses before long."""
    until = time.monotonic() + _PATIENCE
    for address in addresses:
        while not _greets(address):
            if time.monotonic() > until:
                raise AgentError(f"sshd answers no more at {address[0]} port {address[1]}")
            time.sleep(0.05)


def recover(layout: Layout, addresses: Sequence[tuple[str, int]]) -> None:
    """Have sshd answer again after what stood before was put back: it may have ended.

    One that answers is not started anew: it might not come up by what others changed.
    """
    with suppress(AgentError):
        reload(layout)
    try:
        check_answers(addresses)
    except AgentError:
        if not layout.reload_command and Path("/run/systemd/system").is_dir():
            with suppress(AgentError):
                _unit("restart")  # sessions stay here, too
                check_answers(addresses)


def reload(layout: Layout) -> None:
    """Make a running sshd read its configuration again; sessions stay. Raises `AgentError`.

    What it could not read would end it.
    """
    run([layout.sshd, "-t", "-f", str(layout.sshd_config)], what="sshd -t")
    if layout.reload_command:
        run(shlex.split(layout.reload_command), what="the reload command")
    elif Path("/run/systemd/system").is_dir():
        # one that a socket starts reads the new configuration anyway
        _unit("try-reload-or-restart")
    else:
        _hang_up()


def _unit(verb: str) -> None:
    try:
        run(["systemctl", verb, _UNITS[0]])
    except AgentError:
        run(["systemctl", verb, _UNITS[1]])


def _hang_up() -> None:
    for name in _PID_FILES:
        data = files.read(Path(name), 32)
        if data is None or not data.strip().isdigit():
            continue
        pid = int(data)
        # a number that was left behind may be anybody's by now
        if files.read(Path(f"/proc/{pid}/comm"), 32) == b"sshd\n":
            os.kill(pid, signal.SIGHUP)
            return
