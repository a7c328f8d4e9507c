"""Tatu on the switch of a fleet: its real programs, over TLS, and people who use them from there."""

import contextlib
import dataclasses
import functools
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from tatu import agentfile
from tatu.bootstrap import open_ledger
from tatu.config import load
from tatu.core import own
from tatu.core.authority import Purpose
from tatu.core.certificate import Certificate
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.local import Local
from tests.e2e import cli_lab
from tests.e2e.cli_lab import make_key
from tests.fakes.tls import make_certificate
from tests.lab.hosts import guard, inventory
from tests.lab.hosts.machine import START
from tests.lab.hosts.network import GATEWAY
from tests.lab.openstack.process import Failed
from tests.lab.openstack.venv import ROOT

ADMIN = "alice"

_CONFIG = """\
[DEFAULT]
api_endpoint = {url}
[api]
bind_host = {gateway}
bind_port = {port}
tls_certificate = {certificate}
tls_key = {key}
[watch]
endpoint = https://{gateway}:{watch_port}/watch
bind_host = {gateway}
bind_port = {watch_port}
with_api = true
[database]
connection = sqlite:///{folder}/tatu.db
[state]
directory = {folder}/state
[keystore_local]
kek_file = {folder}/kek
[agent]
directory = {folder}/agents
[inventory]
driver = file
[inventory_file]
path = {folder}/instances.json
{more}
"""


class Tatu:
    """One deployment; `Tatu.start` is how to get one.  Hosts are told to trust `certificate` for TLS."""

    @classmethod
    @contextlib.contextmanager
    def start(cls, fleet, folder, more=""):
        """Serve on the switch for as long as the block lasts; `more` is added to the configuration."""
        tatu = cls(fleet, folder, more)
        try:
            tatu.serve()
            yield tatu
        finally:
            tatu.stop()

    def __init__(self, fleet, folder, more):
        folder.mkdir(parents=True, exist_ok=True)
        self.fleet = fleet
        self.folder = folder
        port, watch_port = next(fleet.ports), next(fleet.ports)
        self.url = f"https://{GATEWAY}:{port}"
        self.log = folder / "tatu.log"
        self._group = f"{fleet.name}/tatu-{port}"
        self.agent = folder / "agents/tatu-agent"  # the same while its sources change
        self.agent.parent.mkdir()
        self.certificate, key = make_certificate(folder, GATEWAY)
        self.key = make_key(folder / "admin")
        self.instances = {}
        self._projects = 0
        self._config = folder / "tatu.conf"
        self._process = None
        self._config.write_text(
            _CONFIG.format(
                url=self.url,
                gateway=GATEWAY,
                port=port,
                watch_port=watch_port,
                folder=folder,
                certificate=self.certificate,
                key=key,
                more=more,
            )
        )
        (folder / "instances.json").write_text("{}")
        inventory.install(folder / "plugins")
        agentfile.write(self.agent)
        self.manage("keystore", "new-key", folder / "kek")
        self.manage("db", "sync")

    def manage(self, *words):
        """Run `tatu-manage`, and return what it printed; it must succeed."""
        program = Path(sys.executable).with_name("tatu-manage")
        command = [program, "--config-file", self._config, *words]
        done = subprocess.run(
            list(map(str, command)),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def open_ledger(self):
        """Open what it keeps, beside it."""
        return open_ledger(load(["--config-file", str(self._config)]))

    def serve(self):
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "tatu.serve", "--config-file", self._config]
        with self.log.open("ab") as log, self.fleet.inside():
            self._process = subprocess.Popen(
                guard.within(self._group, command),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + START
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise Failed("tatu-api is not ready", self.log)
            time.sleep(0.03)

    def stop(self):
        """Kill it at once, with its children."""
        if self._process is not None:
            guard.kill(self._group)
            self._process.wait()
            self._process = None

    def project(self):
        """Make one more project whose administrator is Alice, with its authority."""
        self._projects += 1
        name = f"project-{self._projects}"
        self.manage("bootstrap", "--admin", ADMIN, "--project", name, "--key", f"{self.key}.pub")
        return Project(self, name)

    def put_instance(self, instance_id, project, name, *addresses):
        """Have the cloud tell of an instance that it built just now."""
        self.instances[instance_id] = {
            "project": project.id,
            "name": name,
            "addresses": addresses,
            "built_at": datetime.now(UTC).isoformat(),
        }
        self._write_instances()

    def remove_instance(self, instance_id):
        del self.instances[instance_id]
        self._write_instances()

    def _write_instances(self):
        file = self.folder / "instances.json"
        file.with_suffix(".new").write_text(json.dumps(self.instances))
        file.with_suffix(".new").replace(file)

    def vendordata(self, instance_id, project):
        """Return what Tatu answers Nova for an instance."""
        body = {
            "project-id": project.id,
            "instance-id": instance_id,
            "image-id": "",
            "user-data": None,
            "hostname": self.instances[instance_id]["name"],
            "metadata": {},
            "boot-roles": "member",
        }
        session = json.loads((self._nova.state / "session.json").read_text())
        with self.fleet.inside():
            request = urllib.request.Request(
                f"{self.url}/v2/vendordata/nova",
                json.dumps(body).encode(),
                {
                    "Authorization": f"Bearer {session['token']}",
                    "Content-Type": "application/json",
                },
            )
            with urllib.request.urlopen(request, context=self._tls, timeout=60) as answer:
                return json.load(answer)

    @functools.cached_property
    def static_vendordata(self):
        """Return what Nova gives every instance."""
        return self.manage("vendordata", "static", "--agent", self.agent)

    @functools.cached_property
    def _nova(self):
        """Return the user that Nova asks with (S21)."""
        services = self.project()
        services.admin.run("role", "create", own.VENDORDATA_ROLE)
        return services.person(own.VENDORDATA_USER, own.VENDORDATA_ROLE)

    @property
    def _tls(self):
        return ssl.create_default_context(cafile=self.certificate)

    @property
    def _environment(self):
        path = os.pathsep.join([str(ROOT), str(self.folder / "plugins")])
        return {**os.environ, "PYTHONPATH": path, "SSL_CERT_FILE": str(self.certificate)}

    def _is_ready(self):
        try:
            with (
                self.fleet.inside(),
                urllib.request.urlopen(
                    f"{self.url}/readyz", context=self._tls, timeout=5
                ) as answer,
            ):
                return answer.status == 200
        except OSError:
            return False


class Project:
    """A project, the people in it, and its hosts."""

    def __init__(self, tatu, name):
        self.tatu = tatu
        self.name = name
        self.admin = Person(self, ADMIN, tatu.key)
        self.id = self.admin.json("whoami")["project"]

    def shown(self, host):
        """Return what Tatu knows of a host."""
        return self.admin.json("host", "show", host.name)

    def person(self, name, *roles):
        """Add somebody, called so in this project, who has these roles and is signed in."""
        name = f"{name}-{self.name}"
        key = make_key(self.tatu.folder / name)
        self.admin.run("user", "create", name)
        self.admin.run("user", "key", "add", name, f"{key}.pub")
        for role in roles:
            self.admin.run("role", "add", "--user", name, "--project", self.name, role)
        return Person(self, name, key)

    def forged(self, certificate, **changes):
        """Return a certificate's line with other contents, as whoever stole the authority's key signs it."""
        with contextlib.closing(self.tatu.open_ledger()) as ledger:
            kek_file = self.tatu.folder / "kek"
            keys = Local(
                secrets=ledger.secrets, keks=kek.from_file(kek_file), randomness=os.urandom
            )
            stolen = keys.signer(ledger.authorities.get(self.id).active(Purpose.USER).reference)
            contents = dataclasses.replace(Certificate.parse(certificate).contents, **changes)
            return stolen.sign_certificate(contents).line

    @contextlib.contextmanager
    def session(self, command):
        """Run a login beside the test for as long as the block lasts, with pipes to it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.tatu.fleet.inside():
            started = subprocess.Popen(list(map(str, command)), text=True, **pipes)
        with started:
            try:
                yield started
            finally:
                started.kill()

    @functools.cached_property
    def trusted(self):
        """Return the file by which a host's system trusts Tatu for TLS: its path and text."""
        certificate = self.tatu.certificate
        command = ["openssl", "x509", "-noout", "-subject_hash", "-in", certificate]
        name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return f"/etc/ssl/certs/{name}.0", certificate.read_text()

    def trust(self, host):
        """Have a host trust Tatu, as an image of the cloud's operator does."""
        host.write(*self.trusted)

    def enrol(self, host):
        """Admit a host as an operator does, and let its agent enrol."""
        made = self.admin.json("token", "create", host.name, "--address", host.address)
        host.write("/usr/local/sbin/tatu-agent", self.tatu.agent.read_bytes(), 0o755)
        host.write("/etc/tatu-ca.pem", self.tatu.certificate.read_bytes())
        host.run(
            ["tatu-agent", "enrol", "--token-file", "-", "--ca-file", "/etc/tatu-ca.pem"],
            input=made["token"],
        )

    def instance(self, host, name):
        """Have the cloud build a host, whose name is its instance id; return the drive that Nova makes for it."""
        self.tatu.put_instance(host.name, self, name, host.address)
        return {
            "meta_data.json": {"uuid": host.name, "name": name, "hostname": name},
            "vendor_data.json": self.tatu.static_vendordata,
            "vendor_data2.json": {"tatu": self.tatu.vendordata(host.name, self)},
        }


class Person(cli_lab.Person):
    """Somebody on the switch, with a home of their own, who runs `tatu` and plain ssh."""

    def __init__(self, project, name, key):
        tatu = project.tatu
        super().__init__(tatu.folder / "homes" / f"{project.name}-{name}", tatu)
        self.name = name
        self._fleet = tatu.fleet
        self.environment["REQUESTS_CA_BUNDLE"] = str(tatu.certificate)
        self.run(
            *("login", "--cloud", "test", "--url", tatu.url, "--user", name),
            *("--project", project.name, "--key", key),
        )

    def run(self, *arguments, **options):
        with self._fleet.inside():
            return super().run(*arguments, **options)

    def certify(self, *arguments):
        """Get a certificate, and know the project's hosts; return what `tatu usercert create` shows."""
        made = self.json("usercert", "create", *arguments)
        (self.home / "known_hosts").write_text(self.run("known-hosts").stdout)
        return made

    def ssh(self, host, account, *command):
        """Log in with the certificate that there is, without a question; return how it ended."""
        return self._fleet.run(
            self.ssh_command(host, account, *command), stdin=subprocess.DEVNULL, timeout=60
        )

    def ssh_command(self, host, account, *command):
        """Return the command line of that login, to be started inside of the switch."""
        key = self.state / "id_ed25519"
        options = {
            "BatchMode": "yes",
            "CertificateFile": f"{key}-cert.pub",
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": host.name,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": key,
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.home / "known_hosts",
        }
        words = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F", "none", *words, f"{account}@{host.address}", *command]
