"""An instance in a mount namespace: its own accounts, files and stock sshd; it needs root, and leaves nothing."""

import contextlib
import email
import http.server
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

from tests.lab.server import free_port

START = 60

# No service manager, whatever this machine has; and of its files only what accounts and PAM need.
BOOT = """\
set -eu
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/sshd /run/etc/ssh/sshd_config.d
cd /etc
for name in passwd group shadow gshadow login.defs default skel security pam.d ld.so.cache \\
    environment profile bash.bashrc hosts host.conf; do
    [ ! -e "$name" ] || cp -a "$name" /run/etc/
done
mount --bind /run/etc /etc
cd /
mkdir -p /usr/lib/tatu-agent
for folder in /home /usr/lib/tatu-agent /var/lib /var/log; do
    mount -t tmpfs -o mode=0755 tmpfs "$folder"
done
printf '%s: files\\n' passwd group shadow hosts >/etc/nsswitch.conf
printf 'Include /etc/ssh/sshd_config.d/*.conf\\nUsePAM yes\\nLogLevel VERBOSE\\n' >/etc/ssh/sshd_config
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
exec /usr/sbin/sshd -D -e -p "$1" -o ListenAddress=127.0.0.1
"""


class Instance:
    """A machine that boots; `network` returns what stands at a URL that its scripts fetch."""

    def __init__(self, folder, network):
        self.port = free_port()
        self.log = folder / "instance.log"
        self._web = _Web(network)
        with self.log.open("wb") as log:
            self._sshd = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", BOOT, "boot", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def run(self, script):
        """Run a script as its root; return what it printed."""
        done = subprocess.run(
            ["nsenter", f"--target={self._sshd.pid}", "--mount", "sh", "-s"],
            input=script,
            env={
                "PATH": f"/usr/local/sbin:/usr/sbin:/sbin:{os.defpath}",
                "http_proxy": self._web.url,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log.read_text()
        return done.stdout

    def stop(self):
        self._sshd.terminate()
        self._sshd.wait(START)
        with contextlib.suppress(
            OSError
        ):  # another instance is mounted over it, or an agent is there
            Path("/usr/lib/tatu-agent").rmdir()
        self._web.stop()

    def _wait(self):
        until = time.monotonic() + START
        while not self._greets():
            assert self._sshd.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def _greets(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def script_of(vendordata):
    """Return the script that cloud-init finds in Nova's vendor data and runs."""
    (part,) = email.message_from_string(vendordata["cloud-init"]).get_payload()
    assert part.get_content_type() == "text/x-shellscript"
    return part.get_payload(decode=True).decode()


class _Web(http.server.ThreadingHTTPServer):
    """All of http that the instance reaches, the address of the metadata service too."""

    def __init__(self, network):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.network = network
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    def stop(self):
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.server.network(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_):
        pass
