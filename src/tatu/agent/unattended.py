"""Managed accounts run nothing without a login: no cron, no at, no manager of their own (S16).

Whatever left a job, and whatever name it has, the program that would run it asks PAM, or systemd.
"""

from __future__ import annotations

from tatu.agent import files, made, pam, place
from tatu.agent.layout import Layout
from tatu.agent.signatures import run

SERVICES = ("cron", "crond", "atd")
_MODULE = "account required pam_succeed_if.so quiet user notingroup {group}"
# systemd takes $$ for a dollar sign; who lingers or asks `systemd-run --user` gets no manager
_UNIT = """\
# Written by tatu-agent; what is changed here is written again.
[Service]
ExecCondition=/bin/sh -c 'case " $$(/usr/bin/id -nG) " in *" {group} "*) exit 1;; esac'
"""


def keep(layout: Layout) -> None:
    """Refuse managed accounts to what runs programs in a user's name; raises `AgentError`."""
    for service in SERVICES:
        if (layout.pam / service).exists():
            pam.ensure(layout, service, [_MODULE.format(group=layout.group)])
    if layout.systemd.is_dir():
        made.folder(layout, layout.user_manager.parent)
        if place.put(layout, layout.user_manager, unit(layout)):
            run(["systemctl", "daemon-reload"])


def unit(layout: Layout) -> bytes:
    """Return our part of the unit of users' managers."""
    return _UNIT.format(group=layout.group).encode()


def remove(layout: Layout) -> None:
    """Take it back."""
    for service in SERVICES:
        pam.remove(layout, service)
    if layout.user_manager.exists():
        files.remove(layout.user_manager)
        run(["systemctl", "daemon-reload"])
