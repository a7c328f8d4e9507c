"""The PAM session hook: writes down which certificate opened a session of a managed account.

It stands alone and imports little, since every login of such an account waits for it:

    session required pam_exec.so seteuid quiet type=open_session python3 -ISE THIS FOLDER

first in sshd's file, behind what gives the process its audit session. Any failure refuses the
session: one without a record could not be ended. There is no hook for the close: by then a user's
`~/.pam_environment` is in the environment, LD_PRELOAD too, and a forged SSH_AUTH_INFO_0.
"""

import os
import sys
import syslog
import time

_UNSET = 0xFFFFFFFF
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PLAIN = frozenset(_LETTERS + "@._-+/=:%")
"""What neither ends a JSON text nor escapes in one."""
_CERTIFICATE = "-cert-v01@openssh.com"
_RESERVE = 10
"""One in so many blocks and files stays free: /run is memory, and not only ours."""


def main() -> int:
    """Record the session of sshd's process that called; return 0, or 1 to refuse it."""
    try:
        _record(sys.argv[1], os.environ, os.getppid())
    except (OSError, ValueError, IndexError) as error:
        syslog.openlog("tatu-session", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_ERR, f"a session is refused: {error}"[:300])
        return 1
    return 0


def _record(folder: str, environment: "os._Environ[str]", monitor: int) -> None:
    account, source = environment.get("PAM_USER", ""), environment.get("PAM_RHOST", "")
    certificate = _certificate(environment.get("SSH_AUTH_INFO_0", ""))
    session = int(_read(f"/proc/{monitor}/sessionid"))
    if session == _UNSET:
        raise ValueError("there is no audit session: pam_loginuid.so did not work")
    # a process may be called `) S 1 (`: what follows the last bracket is the kernel's
    started = int(_read(f"/proc/{monitor}/stat").rpartition(")")[2].split()[19])
    if not account or not set(account) <= _PLAIN:
        raise ValueError("PAM names no account")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    source = source if set(source) <= _PLAIN else ""
    record = (
        f'{{"session": {session}, "monitor": {monitor}, "started": {started}, '
        f'"account": "{account}", "certificate": "{certificate}", "source": "{source}", '
        f'"at": "{at}"}}\n'
    )
    _write(folder, str(session), record)


def _certificate(shown: str) -> str:
    """Return the line of the one certificate that sshd let in, of this connection's making.

    sshd itself puts it into PAM's environment; SSH_USER_AUTH names a file that the user owns.
    """
    method, _, line = shown.strip().partition(" ")
    algorithm, _, blob = line.partition(" ")
    certified = method == "publickey" and algorithm.endswith(_CERTIFICATE)
    if not certified or not set(algorithm + blob) <= _PLAIN:
        raise ValueError("sshd names no certificate")
    return line


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (pathlib is slow)
        return file.read()


def _write(folder: str, name: str, record: str) -> None:
    """Write what no session has written yet: a record is never replaced."""
    os.umask(0o077)
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 (as above)
    room = os.statvfs(folder)
    if room.f_bavail * _RESERVE < room.f_blocks or room.f_favail * _RESERVE < room.f_files:
        raise ValueError(f"there is no room in {folder}: does tatu-agent run?")
    beside = f"{folder}/.{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = os.open(beside, flags, 0o600)
    try:
        if os.write(opened, record.encode()) != len(record):  # it is ASCII
            raise ValueError(f"the record was not written whole: is {folder} full?")
        os.link(beside, f"{folder}/{name}")
    finally:
        os.close(opened)
        os.unlink(beside)  # noqa: PTH108 (as above)


if __name__ == "__main__":
    os._exit(main())  # a sixth of the time would go into putting things away
