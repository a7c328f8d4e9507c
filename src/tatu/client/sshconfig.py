"""An ssh_config of our own, so that plain ssh, scp, git, rsync and whatever runs them work."""

import shlex
from pathlib import Path

from tatu.client import files, ready
from tatu.client.clouds import Cloud
from tatu.client.knownhosts import install_block

_BEGIN = "# tatu: begin"
_END = "# tatu: end"
INCLUDE = "Include ~/.ssh/tatu/*.conf"


def ssh_folder() -> Path:
    """Return ssh's folder of this person."""
    return Path.home() / ".ssh"


def path(cloud: str) -> Path:
    """Return the file of a cloud."""
    return ssh_folder() / "tatu" / f"{cloud}.conf"


def text(cloud: Cloud, hosts: dict[str, str], patterns: list[str], tatu: list[str]) -> str:
    """Return the file: whom it is for, how the certificate is refreshed, and what to trust.

    The refresh is a `Match exec`, run only for these hosts; when it fails, whom we trust
    stays in force. `tatu` is the command that runs the client.
    """
    folder = str(cloud.folder)
    matched = ",".join(patterns)
    command = shlex.join([*tatu, "ssh-config", "refresh", "--cloud", cloud.name])
    trust = dict(ready.trust_options(folder))
    lines = [f"# Made by `tatu ssh-config --cloud {cloud.name}`: changes are lost."]
    if not patterns:
        lines.append("# The project has no hosts yet.")
        return "\n".join([*lines, ""])
    lines.append(f'Match host {matched} exec "{command.replace("%", "%%")}"')
    lines += [
        f"    {name} {value}" for name, value in ready.ssh_options(folder) if name not in trust
    ]
    lines.append(f"Match host {matched}")
    lines += [f"    {name} {value}" for name, value in trust.items()]
    for host_id in dict.fromkeys(hosts.values()):
        known = [name for name, found in hosts.items() if found == host_id and name != host_id]
        lines.append(f"Match host {','.join([host_id, *known])}")
        lines.append(f"    HostKeyAlias {host_id}")
    # what follows in the including file is for every host again
    return "\n".join([*lines, "Match all", ""])


def write(cloud: Cloud, content: str) -> Path:
    """Put a cloud's file in place; return where."""
    target = path(cloud.name)
    ssh_folder().mkdir(mode=0o700, exist_ok=True)
    files.private_folder(target.parent)
    files.write(target, content)
    return target


def install() -> bool:
    """Make ssh's own configuration include our files, before all else: the first value counts.

    Return whether anything changed.
    """
    return install_block(ssh_folder() / "config", _BEGIN, _END, f"{INCLUDE}\n", top=True)
