"""ssh-keygen verifies the signatures that we wrap, and we read and verify its own."""

import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tatu.core import sshsig, wire
from tatu.core.errors import Denied
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature

MESSAGE = b"pay attention\n"


def ecdsa(curve, size):
    def sign(key, data):
        halves = decode_dss_signature(key.sign(data, ec.ECDSA(size)))
        return b"".join(map(wire.mpint, halves))

    return lambda: ec.generate_private_key(curve), f"ecdsa-sha2-nistp{curve.key_size}", sign


def rsa_with(size):
    return (
        lambda: rsa.generate_private_key(65537, 2048),
        f"rsa-sha2-{size.digest_size * 8}",
        lambda key, data: key.sign(data, padding.PKCS1v15(), size),
    )


KINDS = {
    "ed25519": (
        ed25519.Ed25519PrivateKey.generate,
        "ssh-ed25519",
        lambda key, data: key.sign(data),
    ),
    "p256": ecdsa(ec.SECP256R1(), hashes.SHA256()),
    "p384": ecdsa(ec.SECP384R1(), hashes.SHA384()),
    "p521": ecdsa(ec.SECP521R1(), hashes.SHA512()),
    "rsa-sha512": rsa_with(hashes.SHA512()),
    "rsa-sha256": rsa_with(hashes.SHA256()),
}


def public(key):
    openssh = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return PublicKey.parse(key.public_key().public_bytes(*openssh).decode())


def signed(kind, namespace, hash_algorithm="sha512", message=MESSAGE):
    make, algorithm, sign = KINDS[kind]
    key = make()
    raw = sign(key, sshsig.to_be_signed(namespace, message, hash_algorithm))
    blob = wire.string(algorithm) + wire.string(raw)
    return SshSignature(public(key), namespace, hash_algorithm, blob)


def ssh_keygen(*arguments, message=MESSAGE):
    command = ("ssh-keygen", "-Y", *arguments)
    return subprocess.run(command, check=False, input=message, capture_output=True, timeout=30)


@pytest.mark.parametrize("hash_algorithm", ["sha512", "sha256"])
@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_verifies_what_we_wrap(tmp_path, kind, hash_algorithm):
    signature = signed(kind, Namespace.HOST, hash_algorithm)
    (tmp_path / "sig").write_text(signature.armored)
    (tmp_path / "allowed").write_text(f"a@host {signature.public_key.line}\n")
    check = ("-n", "host@tatu", "-s", tmp_path / "sig")
    assert ssh_keygen("check-novalidate", *check).returncode == 0
    verify = ("verify", "-f", tmp_path / "allowed", "-I", "a@host")
    assert ssh_keygen(*verify, *check).returncode == 0
    assert ssh_keygen(*verify, *check, message=b"other").returncode != 0


def test_ssh_keygen_and_we_refuse_another_purpose(tmp_path):
    signature = signed("ed25519", Namespace.HOST)
    (tmp_path / "sig").write_text(signature.armored)
    done = ssh_keygen("check-novalidate", "-n", "login@tatu", "-s", tmp_path / "sig")
    assert done.returncode != 0
    with pytest.raises(Denied):
        signature.signed_bytes(Namespace.LOGIN, MESSAGE)


def test_ssh_keygen_reads_the_same_signature_with_windows_line_ends(tmp_path):
    signature = signed("ed25519", Namespace.HOST)
    again = SshSignature.parse(signature.armored.replace("\n", "\r\n"))
    (tmp_path / "sig").write_text(again.armored)
    check = ("check-novalidate", "-n", "host@tatu", "-s", tmp_path / "sig")
    assert ssh_keygen(*check).returncode == 0


@pytest.mark.parametrize("namespace", Namespace)
def test_we_verify_what_ssh_keygen_signs(tmp_path, namespace):
    make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    subprocess.run(make, check=True, timeout=30)
    armored = ssh_keygen("sign", "-n", namespace, "-f", tmp_path / "key").stdout.decode()
    signature = SshSignature.parse(armored)
    assert signature.armored == armored
    assert signature.public_key == PublicKey.parse((tmp_path / "key.pub").read_text())
    key = serialization.load_ssh_public_key(signature.public_key.line.encode())
    raw = signature.signature[-64:]
    key.verify(raw, signature.signed_bytes(namespace, MESSAGE))
