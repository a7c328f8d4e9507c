"""Managed accounts run nothing without a login: no cron, no at, no manager of their own (S16).

Whatever left a job, and whatever name it has, the program that would run it asks PAM, or systemd.
Accounts that this host's operator names in a file of root's may, for as long as a role opens them:
no statement can say so, since such work outlives the certificate that it was left by.
"""

from __future__ import annotations

from collections.abc import Sequence

from tatu.agent import files, made, pam, place
from tatu.agent.errors import AgentError
from tatu.agent.layout import Layout
from tatu.agent.signatures import run
from tatu.agent.statement import Statement
from tatu.agent.text import WRITTEN

_MAX_NAMES = 2**16

# systemd takes $$ for a dollar sign; who lingers or asks `systemd-run --user` gets no manager
_UNIT = """\
{written}
[Service]
ExecCondition=/bin/sh -c '{spared}case " $$(/usr/bin/id -nG) " in *" {group} "*) exit 1;; esac'
"""


def allowed(layout: Layout, newest: Statement) -> tuple[str, ...]:
    """Return which accounts of roles may run unattended here; a file that is no use allows none.

    What stands there goes nowhere: it only chooses of names that were checked.
    """
    try:
        text = files.read(layout.unattended, _MAX_NAMES) or b""
    except AgentError:
        return ()
    named = set(text.decode(errors="replace").split())
    return tuple(sorted(named & set(newest.accounts)))


def keep(layout: Layout, alone: Sequence[str]) -> None:
    """Refuse managed accounts to what runs programs in a user's name, but for those that may.

    Raises `AgentError`.
    """
    refused = f"account required {pam.unmanaged(layout)}"
    spared = (
        f"account [success=1 default=ignore] pam_succeed_if.so quiet user in {':'.join(alone)}"
    )
    for service in pam.UNATTENDED:
        if (layout.pam / service).exists():
            pam.ensure(layout, service, [spared, refused] if alone else [refused])
    if layout.systemd.is_dir():
        made.folder(layout, layout.user_manager.parent)
        if place.put(layout, layout.user_manager, unit(layout, alone)):
            run(["systemctl", "daemon-reload"])


def unit(layout: Layout, alone: Sequence[str]) -> bytes:
    """Return our part of the unit of users' managers."""
    spared = f'case "$$(/usr/bin/id -un)" in {"|".join(alone)}) exit 0;; esac; ' if alone else ""
    return _UNIT.format(written=WRITTEN, group=layout.group, spared=spared).encode()


def remove(layout: Layout) -> None:
    """Take it back."""
    for service in pam.UNATTENDED:
        pam.remove(layout, service)
    if layout.user_manager.exists():
        files.remove(layout.user_manager)
        run(["systemctl", "daemon-reload"])
