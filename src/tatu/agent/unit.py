"""systemd's unit, which keeps the agent running, and its installation.

No capability is left out that a login manager needs: the agent makes accounts with their homes,
writes below /etc and /usr/lib, freezes cgroups, kills sessions, mounts the config drive, and runs
sshd, useradd, visudo and the operator's reload command. So there is no ProtectSystem=,
ProtectHome=, ProtectControlGroups=, ProtectProc= or NoNewPrivileges=, and no list of all that is
allowed: what those programs call is not the agent's to foresee. What none needs is named below.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tatu.agent import files, made, place
from tatu.agent.layout import Layout
from tatu.agent.signatures import run

NAME = "tatu-agent.service"

_TEXT = """\
[Unit]
Description=Keep sshd in step with its Tatu authority
Documentation=man:tatu-agent(8)
StartLimitIntervalSec=0
Wants=network-online.target
# cloud-init makes the host keys anew at the first boot, and removes the certificates of others
After=network-online.target ssh.service sshd.service cloud-init.service cloud-init-network.service

[Service]
Type=notify
ExecStart={command}
Restart=always
RestartSec=5
# called wrongly, it would be so again
RestartPreventExitStatus=2
WatchdogSec=15min
OOMScoreAdjust=-500
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @debug @module @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_BOOT CAP_SYS_TIME CAP_SYS_PACCT
CapabilityBoundingSet=~CAP_NET_ADMIN CAP_NET_RAW CAP_MKNOD CAP_BPF CAP_PERFMON CAP_WAKE_ALARM

[Install]
WantedBy=multi-user.target
"""


def text(program: str, options: Sequence[str]) -> str:
    """Return the unit that runs a program with options."""
    return _TEXT.format(command=" ".join(map(_word, (program, "run", *options))))


def _word(text: str) -> str:
    """Return an argument as systemd reads it: % and $ are its own, and so are backslashes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    word = text if shlex.quote(text) == text else f'"{escaped}"'
    return word.replace("%", "%%").replace("$", "$$")


def setup(layout: Layout, options: Sequence[str]) -> list[str]:
    """Have systemd run this agent from the next boot on; raises `AgentError`."""
    path = layout.root / "etc/systemd/system" / NAME
    files.folder(layout.state, 0o700)
    made.folder(layout, path.parent)
    program = str(layout.hooks / "tatu-agent")
    place.put(layout, path, text(program, options).encode())
    if layout.systemd.is_dir():
        run(["systemctl", "--no-reload", "enable", NAME])
    return [f"{NAME} is set up"]


def start(layout: Layout) -> None:
    """Have systemd run this agent now, where there is a systemd; raises `AgentError`."""
    if layout.systemd.is_dir():
        run(["systemctl", "daemon-reload"])
        # it may be waited for by what this is part of: a boot
        run(["systemctl", "restart", "--no-block", NAME])
