"""Managed accounts run nothing without a login: no cron, no at, no manager of their own (S16).

Whatever left a job, and whatever name it has, the program that would run it asks PAM, or systemd.
"""

from __future__ import annotations

from tatu.agent import files, made, pam, place
from tatu.agent.layout import Layout
from tatu.agent.signatures import run
from tatu.agent.text import WRITTEN

# systemd takes $$ for a dollar sign; who lingers or asks `systemd-run --user` gets no manager
_UNIT = """\
{written}
[Service]
ExecCondition=/bin/sh -c 'case " $$(/usr/bin/id -nG) " in *" {group} "*) exit 1;; esac'
"""


def keep(layout: Layout) -> None:
    """Refuse managed accounts to what runs programs in a user's name; raises `AgentError`."""
    for service in pam.UNATTENDED:
        if (layout.pam / service).exists():
            pam.ensure(layout, service, [f"account required {pam.unmanaged(layout)}"])
    if layout.systemd.is_dir():
        made.folder(layout, layout.user_manager.parent)
        if place.put(layout, layout.user_manager, unit(layout)):
            run(["systemctl", "daemon-reload"])


def unit(layout: Layout) -> bytes:
    """Return our part of the unit of users' managers."""
    return _UNIT.format(written=WRITTEN, group=layout.group).encode()


def remove(layout: Layout) -> None:
    """Take it back."""
    for service in pam.UNATTENDED:
        pam.remove(layout, service)
    if layout.user_manager.exists():
        files.remove(layout.user_manager)
        run(["systemctl", "daemon-reload"])
