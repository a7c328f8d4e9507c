"""An ssh_config of our own, so that plain ssh, scp, git, rsync and whatever runs them work."""

from pathlib import Path

from tatu.client import files, ready
from tatu.client.clouds import Cloud
from tatu.client.knownhosts import install_block
from tatu.core.errors import Conflict

_BEGIN = "# tatu: begin"
_END = "# tatu: end"
INCLUDE = "Include ~/.ssh/tatu/*.conf"


def ssh_folder() -> Path:
    """Return ssh's folder of this person."""
    return Path.home() / ".ssh"


def path(cloud: str) -> Path:
    """Return the file of a cloud."""
    return ssh_folder() / "tatu" / f"{cloud}.conf"


def text(cloud: Cloud, hosts: dict[str, str], patterns: list[str], refresher: str) -> str:
    """Return the file: whom it is for, how the certificate is refreshed, and what to trust.

    The refresh is a `Match exec`, run only for these hosts; when it fails, whom we trust
    stays in force. `refresher` is the shell command that refreshes.
    """
    folder = str(cloud.folder)
    matched = ",".join(patterns)
    trust = dict(ready.trust_options(folder))
    lines = [f"# Made by the command ssh-config for {cloud.name}: changes are lost."]
    if not patterns:
        lines.append("# The project has no hosts yet.")
        return "\n".join([*lines, ""])
    lines.append(f'Match host {matched} exec "{refresher.replace("%", "%%")}"')
    lines += [
        f"    {name} {value}" for name, value in ready.ssh_options(folder) if name not in trust
    ]
    lines.append(f"Match host {matched}")
    lines += [f"    {name} {value}" for name, value in trust.items()]
    for host_id in dict.fromkeys(hosts.values()):
        known = [name for name, found in hosts.items() if found == host_id and name != host_id]
        lines.append(f"Match host {','.join([host_id, *known])}")
        lines.append(f"    HostKeyAlias {host_id}")
        # last of the host's own: from here on `Match host` sees the address
        short = [name for name in [host_id, *known] if ready.where_to(hosts, name)]
        if short:
            lines.append(f"Match host {','.join(short)}")
            lines.append(f"    HostName {ready.where_to(hosts, host_id)}")
    # what follows in the including file is for every host again
    return "\n".join([*lines, "Match all", ""])


def write(cloud: Cloud, patterns: list[str], content: str) -> Path:
    """Put a cloud's file in place; return where.

    Raises `Conflict` when another cloud's file has one of the patterns already: ssh would use the
    certificate, the names and the trust of the file that sorts first.
    """
    target = path(cloud.name)
    for other in sorted(target.parent.glob("*.conf")):
        if other == target:
            continue
        taken = _patterns(files.read(other))
        crossing = [name for name in patterns if any(_cross(name, found) for found in taken)]
        if crossing:
            raise Conflict(
                f"{', '.join(crossing[:3])}: {other} is for this already, and the first keeps it;"
                " remove that file, or reach these hosts by `tatu ssh` alone"
            )
    ssh_folder().mkdir(mode=0o700, exist_ok=True)
    files.private_folder(target.parent)
    files.write(target, content)
    return target


def _patterns(text: str) -> set[str]:
    """Return whom a file that `text` made is for."""
    words = (line.split() for line in text.splitlines() if line.startswith("Match host "))
    return {name for line in words for name in line[2].split(",")}


def _cross(one: str, other: str) -> bool:
    """Say whether two patterns, each a name or `*.suffix`, fit a common name."""
    return (
        one == other
        or (one.startswith("*.") and other.endswith(one[1:]))
        or (other.startswith("*.") and one.endswith(other[1:]))
    )


def install() -> bool:
    """Make ssh's own configuration include our files, before all else: the first value counts.

    Return whether anything changed.
    """
    return install_block(ssh_folder() / "config", _BEGIN, _END, f"{INCLUDE}\n", top=True)
