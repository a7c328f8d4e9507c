"""Make `certificates/`: what ssh-keygen signs when it is asked to, wise or not, one file each.

Run as `python -m tests.vectors.make_certificates`; keys are made anew and thrown away.
"""

import json
import os
import subprocess
import tempfile
from base64 import b64decode, b64encode
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tatu.core import wire

TARGET = Path(__file__).parent / "certificates"
DAY = "-V 20260101000000:20260102000000"
WEEK = "-V 20260101000000:20260108000000"
USER = f"-I alice_7 -z 7 {DAY} -n admin,member"
HOST = f"-h -I db_8 -z 8 {WEEK} -n db,db.blue.example,192.0.2.7,2001:db8::7"

# name: (what it shows, subject key, signature key, arguments, what the linter finds)
SCENARIOS = {
    "user": ("a user certificate as it should be", "ed25519", "ed25519", USER, []),
    "host": ("a host certificate as it should be", "ed25519", "ed25519", HOST, []),
    **{
        f"user-{key}": (f"a user certificate for a key of type {key}", key, "ed25519", USER, [])
        for key in ("rsa", "ecdsa256", "ecdsa384", "ecdsa521", "sk-ed25519", "sk-ecdsa")
    },
    **{
        f"signed-by-{key}": (f"a user certificate signed by {key}", "ed25519", key, USER, [])
        for key in ("rsa", "ecdsa256", "ecdsa384", "ecdsa521")
    },
    "signed-by-rsa-sha256": (
        "RSA may sign with SHA-256",
        "ed25519",
        "rsa",
        f"-t rsa-sha2-256 {USER}",
        [],
    ),
    "signed-by-rsa-sha1": (
        "RSA with SHA-1",
        "ed25519",
        "rsa",
        f"-t ssh-rsa {USER}",
        ["signature-algorithm"],
    ),
    "signed-by-rsa-1024": ("a weak signature key", "ed25519", "rsa1024", USER, ["signature-key"]),
    "options": (
        "the critical options that are known",
        "ed25519",
        "ed25519",
        f"{USER} -O clear -O force-command=/bin/true -O source-address=192.0.2.0/24,2001:db8::/32 -O verify-required",
        [],
    ),
    "forever": (
        "no times at all",
        "ed25519",
        "ed25519",
        "-I alice_7 -z 7 -n admin",
        ["no-end", "no-beginning"],
    ),
    "no-end": (
        "no end",
        "ed25519",
        "ed25519",
        "-I alice_7 -z 7 -n admin -V 20260101000000:forever",
        ["no-end"],
    ),
    "long": (
        "a year",
        "ed25519",
        "ed25519",
        "-I alice_7 -z 7 -n admin -V 20260101000000:20270101000000",
        ["long-validity"],
    ),
    "no-principals": (
        "no principals",
        "ed25519",
        "ed25519",
        f"-I alice_7 -z 7 {DAY}",
        ["no-principals"],
    ),
    "duplicate-principal": (
        "the same principal twice",
        "ed25519",
        "ed25519",
        f"-I alice_7 -z 7 {DAY} -n admin,admin",
        ["duplicate-principal"],
    ),
    "root": (
        "a reserved principal",
        "ed25519",
        "ed25519",
        f"-I alice_7 -z 7 {DAY} -n root",
        ["reserved-principal"],
    ),
    "wildcard-host": (
        "a host certificate for all of a domain",
        "ed25519",
        "ed25519",
        f"-h -I db_8 -z 8 {WEEK} -n *.example.com",
        ["wildcard-principal", "host-name"],
    ),
    "no-serial": ("no serial", "ed25519", "ed25519", f"-I alice_7 {DAY} -n admin", ["no-serial"]),
    "unknown-option": (
        "a critical option of nobody",
        "ed25519",
        "ed25519",
        f"{USER} -O critical:x@example=y",
        ["unknown-option"],
    ),
    "unknown-extension": (
        "an extension of nobody",
        "ed25519",
        "ed25519",
        f"{USER} -O extension:x@example=y",
        ["unknown-extension"],
    ),
    "command-as-extension": (
        "a force-command that forces nothing",
        "ed25519",
        "ed25519",
        f"{USER} -O clear -O extension:force-command=/bin/true",
        ["option-as-extension"],
    ),
    "permit-as-option": (
        "an extension among the critical options",
        "ed25519",
        "ed25519",
        f"{USER} -O clear -O critical:permit-pty",
        ["extension-as-option"],
    ),
    "no-touch": (
        "a security key that need not be touched",
        "sk-ed25519",
        "ed25519",
        f"{USER} -O no-touch-required",
        ["no-touch-required"],
    ),
    "itself": ("a key that certifies itself", "ed25519", "itself", USER, ["key-certifies-itself"]),
}


def _keygen(*arguments: str, cwd: Path) -> str:
    environment = {**os.environ, "TZ": "UTC"}
    return subprocess.run(
        ["ssh-keygen", *arguments],
        cwd=cwd,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def _key(name: str, path: Path) -> None:
    kind, bits = name.rstrip("0123456789"), name.lstrip("abcdefghijklmnopqrstuvwxyz")
    if name == "ed25519":
        kind, bits = name, ""
    _keygen(
        "-q",
        "-t",
        kind,
        *(["-b", bits] if bits else []),
        "-N",
        "",
        "-C",
        "",
        "-f",
        path.name,
        cwd=path.parent,
    )


def _subject(name: str, path: Path) -> None:
    """Make a key; one for hardware has no private half here, and needs none to be certified."""
    if not name.startswith("sk-"):
        _key(name, path)
        return
    plain, algorithm = {
        "sk-ed25519": ("ed25519", "sk-ssh-ed25519@openssh.com"),
        "sk-ecdsa": ("ecdsa", "sk-ecdsa-sha2-nistp256@openssh.com"),
    }[name]
    _key(plain, path)
    public = path.with_suffix(".pub")
    reader = wire.Reader(b64decode(public.read_text().split()[1]))
    reader.string()
    blob = wire.string(algorithm) + reader.rest() + wire.string("ssh:")
    public.write_text(f"{algorithm} {b64encode(blob).decode()}\n")


def _weak_rsa(path: Path) -> None:
    """Make the key that ssh-keygen makes no longer, but still signs with."""
    key = rsa.generate_private_key(65537, 1024)
    path.touch(0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    )


def _make(name: str) -> None:
    scenario, subject, signer, arguments, findings = SCENARIOS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _subject(subject, folder / "key")
        if signer == "rsa1024":
            _weak_rsa(folder / "ca")
        elif signer != "itself":
            _key(signer, folder / "ca")
        _keygen(
            "-q",
            "-s",
            "key" if signer == "itself" else "ca",
            *arguments.split(),
            "key.pub",
            cwd=folder,
        )
        certificate = (folder / "key-cert.pub").read_text().strip()
        shown = _keygen("-L", "-f", "key-cert.pub", cwd=folder).splitlines()[1:]
    vector = {
        "scenario": scenario,
        "arguments": arguments,
        "certificate": certificate,
        "listing": [line.removeprefix("        ") for line in shown],
        "findings": findings,
    }
    (TARGET / f"{name}.json").write_text(json.dumps(vector, indent=2) + "\n")


if __name__ == "__main__":
    for name in SCENARIOS:
        _make(name)
