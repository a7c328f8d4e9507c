"""A real host that obeys a Tatu of the test's own, and keys that get certificates of anybody's."""

import contextlib
import subprocess

from tatu import agentfile
from tatu.core.certificate import CertificateType
from tatu.core.keys import PublicKey
from tests.fakes.tatu_server import FakeTatu, certify
from tests.lab.hosts.fleet import GATEWAY


class Obeying:
    """An enrolled host, the authority that it obeys, and a key with certificates."""

    @classmethod
    @contextlib.contextmanager
    def start(cls, fleet, name, folder, **said):
        """Boot a host, and enrol it with an authority whose first statement says this."""
        with cls.on(fleet, fleet.host(name), folder, **said) as found:
            yield found

    @classmethod
    @contextlib.contextmanager
    def on(cls, fleet, host, folder, **said):
        """Enrol a host that is there already."""
        with fleet.inside():
            tatu = FakeTatu(host=host.name, address=GATEWAY)
        try:
            tatu.publish(**said)
            yield cls(fleet, host, tatu, folder)
        finally:
            tatu.close()

    def __init__(self, fleet, host, tatu, folder):
        self.fleet = fleet
        self.host = host
        self.tatu = tatu
        self.key = folder / "id"
        self._certificates = 0
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        agent = folder / "tatu-agent"
        agentfile.write(agent)
        host.write("/usr/local/sbin/tatu-agent", agent.read_bytes(), 0o755)
        self.enrol()

    def enrol(self):
        command = ["tatu-agent", "enrol", "--token-file", "-", "--insecure-http"]
        return self.host.run(command, input=self.tatu.token)

    def sync(self, **options):
        return self.host.run(["tatu-agent", "sync"], **options)

    def certified(self, *principals, **changes):
        """Return a certificate of the authority, in a file."""
        subject = PublicKey.parse(self.key.with_suffix(".pub").read_text())
        usual = {"type": CertificateType.USER, "extensions": {"permit-pty": ""}}
        made = certify(self.tatu.user_key, subject, principals, **{**usual, **changes})
        return self.kept(made.line)

    def kept(self, line):
        """Keep a certificate's line in a file of its own."""
        self._certificates += 1
        file = self.key.with_name(f"id-{self._certificates}-cert.pub")
        file.write_text(f"{line}\n")
        return file

    def ssh(self, account, certificate, *command):
        """Return the command line of a login, to be run on the switch."""
        options = {
            "BatchMode": "yes",
            "CertificateFile": certificate,
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": self.key,
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F", "none", *words, f"{account}@{self.host.address}", *command]

    def login(self, account, certificate, *command):
        """Log in and run a command; return how it ended."""
        command = self.ssh(account, certificate, *command)
        return self.fleet.run(command, stdin=subprocess.DEVNULL, timeout=60)
