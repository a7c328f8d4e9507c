"""Network namespaces: a switch, and the machines that are plugged into it."""

import contextlib
import ctypes
import subprocess
from ipaddress import ip_address
from pathlib import Path

GATEWAY = "10.99.0.1"
"""The switch's own address, where machines find what tests serve."""

METADATA = "169.254.169.254"

_WIDTH = 16
_CLONE_NEWNET = 0x40000000


def ip(*words) -> None:
    """Run ip(8); raises CalledProcessError."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def inside(namespace: str):
    """Be in a namespace: what this thread binds, connects or starts in the block is there, and there alone."""
    with (
        Path("/proc/thread-self/ns/net").open("rb") as before,
        Path(f"/run/netns/{namespace}").open("rb") as there,
    ):
        _enter(there)
        try:
            yield
        finally:
            _enter(before)


def make_switch(switch: str) -> None:
    """Make a namespace with a bridge that has the addresses of gateway and metadata service."""
    ip("netns", "add", switch)
    ip("-n", switch, "link", "set", "lo", "up")
    ip("-n", switch, "link", "add", "br0", "type", "bridge")
    ip("-n", switch, "addr", "add", f"{GATEWAY}/{_WIDTH}", "dev", "br0")
    ip("-n", switch, "addr", "add", f"{METADATA}/32", "dev", "br0")
    ip("-n", switch, "link", "set", "br0", "up")


def hardware(address: str) -> str:
    """Return the hardware address of an address, the same each time."""
    return "02:00:" + ":".join(f"{part:02x}" for part in ip_address(address).packed)


def plug(switch: str, namespace: str, address: str) -> None:
    """Make a namespace with one interface, which is plugged into the switch."""
    end = f"v{int(ip_address(address)):08x}"
    mine = ("name", "eth0", "address", hardware(address), "netns", namespace)
    ip("netns", "add", namespace)
    ip("-n", switch, "link", "add", end, "type", "veth", "peer", *mine)
    ip("-n", switch, "link", "set", end, "master", "br0", "up")
    ip("-n", namespace, "addr", "add", f"{address}/{_WIDTH}", "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", namespace, "link", "set", device, "up")
    ip("-n", namespace, "route", "add", "default", "via", GATEWAY)


def tap(switch: str, address: str) -> str:
    """Plug in an interface for a virtual machine, and return its name."""
    name = f"t{int(ip_address(address)):08x}"
    ip("-n", switch, "tuntap", "add", name, "mode", "tap")
    ip("-n", switch, "link", "set", name, "master", "br0", "up")
    return name


def _enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
