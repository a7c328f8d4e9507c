"""`tatu-agent uninstall`: the machine as it was, but for accounts, which are kept and locked.

In an order that opens nothing in between: nobody new gets in, then accounts are locked, and only
then goes what closed them to all but certificates. Done again, it does what is left to do.
"""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tatu.agent import accounts, ending, files, install, made, pam, place, sshd, unattended, unit
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.signatures import run

_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_PROGRAM = "tatu-agent"
_PACKAGE = "var/lib/dpkg/info/tatu-agent.list"


@contextmanager
def stopped(layout: Layout) -> Iterator[None]:
    """Have nobody put in place again meanwhile what is taken away; raises `AgentError`.

    Where it cannot be taken away the agent goes on: a host that it keeps no more would hear of no
    revocation.
    """
    _check_caller(accounts.of(layout))
    there = any((layout.root / folder / unit.NAME).exists() for folder in _UNITS)
    if not there or not layout.systemd.is_dir():
        yield
        return
    shown = run(["systemctl", "is-enabled", unit.NAME], codes=(0, 1))
    run(["systemctl", "disable", "--now", unit.NAME])
    try:
        yield
    except BaseException:
        if shown == b"enabled\n":
            with suppress(AgentError):  # why it could not be taken away says more
                run(["systemctl", "enable", "--now", "--no-block", unit.NAME])
        raise


def uninstall(layout: Layout, *, remove_accounts: bool) -> list[str]:
    """Take away all that the agent put in place, and return what an operator should know.

    Default users, their keys and files are not touched. Raises `AgentError`; then it can be run
    again. With `remove_accounts` the accounts' files are lost.
    """
    ours = accounts.of(layout)
    install.close(layout)
    said = [f"warning: {text}" for text in ours.retire(remove=False)]
    _close_sshd(layout)
    if layout.sudoers.exists():
        files.remove(layout.sudoers)
    shutil.rmtree(layout.run, ignore_errors=True)
    if ending.end_strays(layout):
        said.append("warning: some processes of managed accounts could not be ended")
    for service in (pam.SSHD, *pam.SUDO):
        pam.remove(layout, service)
    unattended.remove(layout)
    if remove_accounts:
        said += [f"warning: {text}" for text in ours.retire(remove=True)]
    kept = ours.all()
    ours.leave()
    if kept:
        said.append(f"kept, locked, with their files: {', '.join(kept)} (--remove-accounts)")
    shutil.rmtree(layout.ours, ignore_errors=True)
    _remove_program(layout)
    _remove_folders(layout, keep_record=bool(kept))
    return ["uninstalled", *said]


def _check_caller(ours: accounts.Accounts) -> None:
    """Raise `AgentError` for whoever came by a managed account: its sessions end on the way."""
    with suppress(OSError, ValueError, KeyError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        if ours.managed([pwd.getpwuid(login).pw_name]):
            raise AgentError("this session ends with the managed accounts: use another account")


def _close_sshd(layout: Layout) -> None:
    """Take our part out of sshd's configuration; put it back should sshd not take that."""
    drop_in = files.read(layout.drop_in, sshd.MAX_CONFIG)
    if drop_in is None:
        sshd.exclude(layout)
        return
    answering = sshd.answering(layout)
    try:
        sshd.exclude(layout)
        files.remove(layout.drop_in)
        sshd.reload(layout)
        sshd.check_answers(answering)
    except AgentError:
        place.put(layout, layout.drop_in, drop_in)
        sshd.include(layout)
        sshd.recover(layout, answering)
        raise


def _remove_program(layout: Layout) -> None:
    """Remove the agent itself, and its unit, unless that is for the package manager to do."""
    ours = layout.root / _UNITS[0] / unit.NAME
    if ours.exists():
        files.remove(ours)
    if layout.systemd.is_dir():
        run(["systemctl", "daemon-reload"])
    packaged = (layout.root / _PACKAGE).exists()
    for path in layout.hooks.iterdir() if layout.hooks.is_dir() else ():
        if not packaged or path.name != _PROGRAM:
            files.remove(path)
    if not packaged:
        with suppress(OSError):
            layout.hooks.rmdir()


def _remove_folders(layout: Layout, *, keep_record: bool) -> None:
    """Remove what the agent remembers, and folders that it made; of kept accounts it knows on."""
    folders = made.load(layout).folders
    for path in layout.state.iterdir() if layout.state.exists() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != layout.made or not keep_record:
            path.unlink()
    for folder in (str(layout.state), *sorted(folders, reverse=True)):
        with suppress(OSError):  # somebody else's files are in it
            Path(folder).rmdir()
