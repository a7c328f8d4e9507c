"""Account names: which a role may open on a host, and which none ever may (security.md S5)."""

import re

ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

_SYSTEM = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats
    nobody _apt messagebus sshd systemd-network systemd-resolve systemd-timesync systemd-coredump
    systemd-oom polkitd tss dbus chrony ntp syslog uuidd tcpdump landscape pollinate lxd shutdown
    halt operator ftp adm sudo wheel staff users docker libvirt kvm disk shadow utmp tty postgres
    mysql tatu kmem netdev plugdev nogroup dnsmasq _chrony _rpc ssm-user
"""
_DISTRIBUTION = """
    ubuntu debian centos fedora cloud-user ec2-user admin-user alpine arch opensuse rocky almalinux
    rhel core cirros freebsd azureuser opc vagrant pi
"""

RESERVED_ACCOUNTS = frozenset(_SYSTEM.split()) | frozenset(_DISTRIBUTION.split())
"""Names that hosts own already: a certificate for one would open somebody else's account."""


def refusal(account: str) -> str | None:
    """Return why a name cannot be a managed account, or None when it can."""
    if not ACCOUNT.fullmatch(account):
        return f"{account!r} is no account name ([a-z_][a-z0-9_-]{{0,31}})"
    if account in RESERVED_ACCOUNTS or account.startswith("systemd-"):
        return f"{account!r} is reserved: hosts have such an account of their own"
    return None
