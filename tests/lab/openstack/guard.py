"""Kills what a lab started, when whoever started the lab is gone, however it ended.

Run as a program it is told on standard input which sessions the lab starts; the end of the input, which
the kernel brings about when the writer dies, is the signal.
"""

import os
import signal
import sys
import time
from pathlib import Path

MARK = "TATU_LAB"
"""The variable that all processes of a lab inherit: its value is the lab's name."""


def living(sessions, mark=None):
    """Return the processes of these sessions, and those that bear the mark, but for ourselves."""
    entry = f"{MARK}={mark}".encode() if mark else None
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, *numbers = (process / "stat").read_text().rpartition(")")[2].split()
            marked = entry in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or is another user's
        pid = int(process.name)
        if state != "Z" and pid != os.getpid() and (marked or int(numbers[2]) in sessions):
            found.append(pid)
    return found


def kill(sessions, mark=None, seconds=10.0):
    """Kill them all, again and again until none is left; raises RuntimeError after the deadline."""
    until = time.monotonic() + seconds
    while found := living(sessions, mark):
        if time.monotonic() > until:
            raise RuntimeError(f"processes of the lab do not end: {found}")
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def main(mark):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sessions = {int(line) for line in sys.stdin}
    kill(sessions, mark)


if __name__ == "__main__":
    main(sys.argv[1])
