"""Ports that no other lab on this machine takes, also while a service is stopped for a moment."""

import fcntl
import random
import socket
import tempfile
import threading
from pathlib import Path

_RANGE = range(20000, 32000)
"""Below what the kernel gives to outgoing connections, which would take a stopped service's port."""


class Ports:
    """Ports by name; each stays ours, by a lock on its file, until `release`."""

    def __init__(self):
        self._folder = Path(tempfile.gettempdir()) / "tatu-lab-ports"
        self._folder.mkdir(exist_ok=True)
        self._held = {}
        self._alone = threading.Lock()

    def __getitem__(self, name):
        with self._alone:
            if name not in self._held:
                self._held[name] = self._reserve()
            return self._held[name][0]

    def _reserve(self):
        for port in random.sample(_RANGE, 200):
            lock = (self._folder / str(port)).open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
            else:
                return port, lock
        raise RuntimeError("no port is free")

    def release(self):
        for _, lock in self._held.values():
            lock.close()
        self._held = {}
