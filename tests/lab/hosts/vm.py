"""A virtual machine on the switch, which reads its drive from a real disc and boots a kernel of its own.

The processor is QEMU's too: where machines are virtual themselves, what /dev/kvm offers may hang.
"""

import subprocess

from tests.lab.hosts import image, network
from tests.lab.hosts.machine import Machine

START = 600.0
"""Seconds until sshd greets: half a minute on a machine that does nothing else."""

_KERNEL = "console=ttyS0 root=/dev/vda rw quiet systemd.show_status=1 net.ifnames=0"


class Vm(Machine):
    """A machine that QEMU runs; it has no `run`, so that tests come in as people do."""

    def __init__(self, fleet, name, address):
        super().__init__(fleet, name, address, None)
        self._base = image.vm(fleet.image)
        self._tap = network.tap(fleet.switch, address)
        self._disk = self.folder / "disk.qcow2"
        over = ("-q", "-f", "qcow2", "-F", "raw", "-b", self._base / "disk")
        _run("qemu-img", "create", *over, self._disk)

    def boot_drive(self, files):
        super().boot_drive(files | {"network_data.json": _network(self.address)})

    def boot(self):
        disc = self.folder / "drive.iso"
        labelled = ("-quiet", "-V", "config-2", "-J", "-r", "-o", disc)
        _run("xorriso", "-as", "mkisofs", *labelled, self.drive)
        hardware = network.hardware(self.address)
        self.spawn(
            [
                *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi,tb-size=128"),
                *("-cpu", "max", "-smp", "2", "-m", "768"),
                *("-nodefaults", "-no-reboot"),
                *("-display", "none", "-monitor", "none", "-serial", "stdio"),
                *("-kernel", self._base / "vmlinuz", "-initrd", self._base / "initrd"),
                *("-append", _KERNEL),
                *("-drive", f"file={self._disk},if=virtio,format=qcow2"),
                *("-drive", f"file={disc},if=virtio,format=raw,readonly=on"),
                *("-netdev", f"tap,id=net,ifname={self._tap},script=no,downscript=no"),
                *("-device", f"virtio-net-pci,netdev=net,mac={hardware}"),
                *("-device", "virtio-rng-pci"),
            ]
        )

    def wait(self, seconds=START):
        super().wait(seconds)

    def unplug(self):
        network.ip("-n", self._switch, "link", "del", self._tap)


def _network(address):
    """Return what Nova tells of the one network."""
    route = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": network.GATEWAY}
    return {
        "links": [
            {"id": "port", "type": "phy", "ethernet_mac_address": network.hardware(address)}
        ],
        "networks": [
            {
                "id": "network",
                "link": "port",
                "type": "ipv4",
                "ip_address": address,
                "netmask": "255.255.0.0",
                "routes": [route],
            }
        ],
        "services": [],
    }


def _run(*command):
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
