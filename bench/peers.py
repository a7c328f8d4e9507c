"""Others that sign SSH certificates, asked the same: built from their modules, never kept here.

step-ca: a JWK provisioner, its default store (badger, which syncs every write by default). A
one-time token for each certificate is its own way to know who asks; it cannot be used twice, so
all are made before. It speaks TLS only, on connections that stay open.

OpenBao is not among them: its releases are tagged v2 without the /v2 that a module path needs,
so that Go's tools take none of them, and the module proxy serves no other version of it.
"""

import base64
import json
import os
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from demo.machine import free_port

from bench import load
from bench.processes import running

STEP_CA = "github.com/smallstep/certificates/cmd/step-ca@v0.30.2"
NO_OPENBAO = "its v2 releases are no Go modules, and the module proxy refuses the rest"
BUILD = Path(".cache/peers")
_BUILD_SECONDS = 1500
_AUDIENCE = "https://127.0.0.1/1.0/ssh/sign"


class NoPeer(Exception):
    """A peer is not there to be measured; the text says why."""


def built(package: str) -> Path:
    """Return a peer's program, built from its pinned module if it is not there yet."""
    path, _, version = package.partition("@")
    program = BUILD.absolute() / f"{Path(path).name}-{version}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NoPeer("no Go toolchain here")
    into = BUILD.absolute() / "bin"
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["go", "install", package],
        env={**os.environ, "GOBIN": str(into), "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise NoPeer(f"{path} cannot be built: {_reason(done.stderr)}")
    (into / Path(path).name).rename(program)
    return program


def _reason(errors: str) -> str:
    """Return the reason of a failed build, without the address that was asked."""
    line = errors.strip().splitlines()[-1].strip() if errors.strip() else "no reason given"
    return line.removeprefix("server response: ")


@dataclass(frozen=True, kw_only=True)
class StepCa:
    """A step-ca in a folder of its own."""

    program: Path
    folder: Path
    port: int
    provisioner: ec.EllipticCurvePrivateKey
    store: str = "badgerv2"

    @classmethod
    def prepared(cls, folder: Path, *, store: str = "badgerv2") -> "StepCa":
        """Return one with fresh keys and an empty store; raises `NoPeer`."""
        program = built(STEP_CA)
        folder.mkdir(parents=True)
        peer = cls(
            program=program,
            folder=folder,
            port=free_port(),
            provisioner=ec.generate_private_key(ec.SECP256R1()),
            store=store,
        )
        peer._write()
        return peer

    @contextmanager
    def serving(self) -> Iterator["StepCa"]:
        """Keep it running inside of the block."""
        command = [str(self.program), str(self.folder / "ca.json")]
        log = self.folder / "step-ca.log"
        with running(command, log=log, ready=self._ready):
            yield self

    def requests(self, count: int) -> list[str]:
        """Return requests for that many certificates; each can be made once, within minutes."""
        keys = [_line(Ed25519PrivateKey.generate()) for _ in range(256)]
        now = int(time.time())
        return [self._request(keys[at % len(keys)], f"user{at % 256}", now) for at in range(count)]

    def _request(self, key: str, name: str, now: int) -> str:
        asked = {"certType": "user", "keyID": name, "principals": ["member"]}
        claims = {
            "iss": "bench",
            "aud": _AUDIENCE,
            "sub": name,
            "iat": now,
            "nbf": now,
            "exp": now + 1800,
            "jti": uuid.uuid4().hex,
            "step": {"ssh": asked},
        }
        head = _segment({"alg": "ES256", "kid": "bench", "typ": "JWT"})
        signed = f"{head}.{_segment(claims)}"
        pair = decode_dss_signature(
            self.provisioner.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        )
        signature = b"".join(part.to_bytes(32) for part in pair)
        body = {"publicKey": key, "ott": f"{signed}.{_url64(signature)}", **asked}
        return load.request("POST", "/1.0/ssh/sign", body=json.dumps(body))

    def _ready(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "root.pem"))
        connection = HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _write(self) -> None:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = _authority("root", root_key, "root", root_key, path_length=1)
        intermediate = _authority("intermediate", key, "root", root_key, path_length=0)
        for name, certificate in (("root", root), ("intermediate", intermediate)):
            pem = certificate.public_bytes(serialization.Encoding.PEM)
            (self.folder / f"{name}.pem").write_bytes(pem)
        self._keep("intermediate.key", key)
        self._keep("user.key", Ed25519PrivateKey.generate())
        self._keep("host.key", Ed25519PrivateKey.generate())
        point = self.provisioner.public_key().public_numbers()
        jwk = {
            "use": "sig",
            "kty": "EC",
            "kid": "bench",
            "crv": "P-256",
            "alg": "ES256",
            "x": _url64(point.x.to_bytes(32)),
            "y": _url64(point.y.to_bytes(32)),
        }
        config = {
            "root": str(self.folder / "root.pem"),
            "crt": str(self.folder / "intermediate.pem"),
            "key": str(self.folder / "intermediate.key"),
            "address": f"127.0.0.1:{self.port}",
            "dnsNames": ["127.0.0.1"],
            "ssh": {
                "userKey": str(self.folder / "user.key"),
                "hostKey": str(self.folder / "host.key"),
            },
            "logger": {"format": "json"},
            "db": {"type": self.store, "dataSource": str(self.folder / "db")},
            "authority": {
                "provisioners": [
                    {
                        "type": "JWK",
                        "name": "bench",
                        "key": jwk,
                        "claims": {"enableSSHCA": True},
                    }
                ]
            },
        }
        (self.folder / "ca.json").write_text(json.dumps(config))

    def _keep(self, name: str, key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / name).touch(mode=0o600)
        (self.folder / name).write_bytes(pem)


def _authority(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    path_length: int,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_common_name(name))
        .issuer_name(_common_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_key_usage(), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _line(key: Ed25519PrivateKey) -> str:
    """Return the base64 of a public key's blob."""
    line = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return line.split()[1].decode()


def _segment(facts: dict[str, object]) -> str:
    return _url64(json.dumps(facts).encode())


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
