"""Tatu as it is measured: a real server over a fresh ledger, and somebody who may ask it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from demo.machine import free_port

from bench import load
from bench.processes import answers, running
from tatu.core import wire
from tatu.core.keys import PublicKey
from tatu.core.policy import Wanted
from tatu.core.sshsig import Namespace, SshSignature, to_be_signed

PROJECT = "bench"
USER = "admin"
SUBJECT_KEYS = 256

CONFIGURATION = """\
[DEFAULT]
api_endpoint = http://127.0.0.1:{port}
[api]
bind_port = {port}
workers = {workers}
[rates]
certificates_account = 1000000000
enrolment_address = 1000000000
[database]
connection = {database}
[state]
directory = {folder}/state
[keystore_local]
kek_file = {folder}/kek
"""


@dataclass(frozen=True, kw_only=True)
class Key:
    """An Ed25519 key that signs in OpenSSH's way."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        line = self.private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return PublicKey.parse(line.decode())

    def signed(self, namespace: Namespace, message: bytes) -> str:
        """Return an armored signature."""
        raw = self.private.sign(to_be_signed(namespace, message))
        blob = wire.string("ssh-ed25519") + wire.string(raw)
        return SshSignature(self.public, namespace, "sha512", blob).armored

    def write(self, path: Path) -> None:
        """Write both halves as ssh-keygen does."""
        path.touch(mode=0o600)
        path.write_bytes(
            self.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        )
        path.with_suffix(".pub").write_text(self.public.line + "\n")


@dataclass(frozen=True, kw_only=True)
class Tatu:
    """A deployment in a folder of its own."""

    folder: Path
    database: str
    workers: int = 1
    port: int = field(default_factory=free_port)
    sign_in_key: Key = field(default_factory=Key)

    @property
    def config(self) -> Path:
        """Its configuration file."""
        return self.folder / "tatu.conf"

    def prepare(self) -> None:
        """Make keys, configuration and ledger, with a project, its administrator and authority."""
        self.folder.mkdir(parents=True)
        self.config.write_text(
            CONFIGURATION.format(
                port=self.port,
                workers=self.workers,
                database=self.database,
                folder=self.folder,
            )
        )
        self.sign_in_key.write(self.folder / "key")
        self.manage("keystore", "new-key", str(self.folder / "kek"))
        self.manage("db", "sync")
        public = str(self.folder / "key.pub")
        self.manage("bootstrap", "--admin", USER, "--project", PROJECT, "--key", public)

    def manage(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Run `tatu-manage`; raises RuntimeError when it fails."""
        program = Path(sys.executable).with_name("tatu-manage")
        done = subprocess.run(
            [program, "--config-file", str(self.config), *words],
            capture_output=True,
            env={**os.environ, **(environment or {})},
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"tatu-manage {' '.join(words)}: {done.stderr.strip()}")

    @contextmanager
    def serving(
        self, *hooks: str, cpus: frozenset[int] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Keep `tatu-api` running inside of the block; with hooks by the bench's own launcher."""
        own = [sys.executable, "-m", "bench.launcher", *hooks]
        command = own if hooks else [str(Path(sys.executable).with_name("tatu-api"))]
        with running(
            [*command, "--config-file", str(self.config)],
            log=self.folder / "api.log",
            ready=lambda: answers(self.port, "/readyz"),
            cpus=cpus,
        ) as process:
            yield process

    def credentials(self, token: str) -> Mapping[str, str]:
        """Return the headers of whoever has this token."""
        return {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        """Return the JSON of an answer; raises RuntimeError for any but success."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = self.credentials(token) if token else {}
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {**headers, **({"Content-Type": "application/json"} if body else {})},
            )
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {text}")
        return json.loads(text)

    def caller(self) -> "Caller":
        """Sign in, and return who may ask for certificates."""
        challenge = self.ask(
            "POST",
            "/v2/challenges",
            {
                "user": USER,
                "project": PROJECT,
                "public_key": self.sign_in_key.public.line,
                "purpose": "login",
            },
        )
        signature = self.sign_in_key.signed(Namespace.LOGIN, challenge["message"].encode())
        signed = {"challenge": challenge["id"], "signature": signature}
        answer = self.ask("POST", "/v2/tokens", signed)
        return Caller(
            tatu=self,
            deployment=self.ask("GET", "/v2")["deployment"],
            token=answer["token"],
            subject=answer["identity"]["subject"],
            authority=answer["identity"]["project"],
        )


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A signed-in user, and the requests they can make."""

    tatu: Tatu
    deployment: str
    token: str
    subject: str
    authority: str

    def bodies(self, count: int = SUBJECT_KEYS) -> list[dict[str, str]]:
        """Return requests for certificates of that many subject keys, with their proofs."""
        return [self.body(Key()) for _ in range(count)]

    def body(self, key: Key) -> dict[str, str]:
        """Return a request for a certificate of a subject key."""
        message = Wanted(subject_key=key.public).proof_message(
            deployment=self.deployment, authority=self.authority, subject=self.subject
        )
        proof = key.signed(Namespace.SUBJECT, message)
        return {"public_key": key.public.line, "proof": proof}

    @property
    def certificates(self) -> str:
        """Where user certificates are asked for."""
        return f"/v2/authorities/{self.authority}/user-certificates"

    def single(self) -> list[str]:
        """Return requests for one certificate each."""
        return [self._post(self.certificates, body) for body in self.bodies()]

    def batch(self, size: int) -> list[str]:
        """Return requests for a batch of certificates each."""
        bodies = self.bodies()
        batches = [bodies[at : at + size] for at in range(0, len(bodies) - size + 1, size)]
        path = f"{self.certificates}/batch"
        return [self._post(path, {"items": batch}) for batch in batches]

    def issued(self) -> int:
        """Return the newest serial."""
        found = self.tatu.ask("GET", "/v2/user-certificates?limit=1", token=self.token)
        return int(found["items"][0]["serial"]) if found["items"] else 0

    def _post(self, path: str, body: object) -> str:
        headers = [": ".join(each) for each in self.tatu.credentials(self.token).items()]
        return load.request("POST", path, body=json.dumps(body), headers=headers)


def cold_start(tatu: Tatu) -> float:
    """Return the seconds from spawning `tatu-api` until it is ready for the first time."""
    start = time.perf_counter()
    with tatu.serving():
        return time.perf_counter() - start
