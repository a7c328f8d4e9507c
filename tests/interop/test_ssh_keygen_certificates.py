"""What we write, ssh-keygen and cryptography read as we do."""

import os
import subprocess
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_identity,
    load_ssh_public_key,
)

from tatu.core import wire
from tatu.core.certificate import FOREVER, CertificateType, signed
from tatu.core.keys import PublicKey
from tests.unit.test_certificate import CONTENTS
from tests.vectors import listing
from tests.vectors.keys import KEYS

HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
AUTHORITIES = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}
USER = replace(
    CONTENTS,
    critical_options={"source-address": "192.0.2.0/24", "force-command": "/bin/true"},
    extensions={"permit-pty": "", "permit-X11-forwarding": ""},
)
HOST = replace(
    CONTENTS,
    type=CertificateType.HOST,
    serial=2**64 - 1,
    principals=("db", "db.blue.example", "192.0.2.7", "2001:db8::7"),
    extensions={},
)


def sign(key, data):
    match key:
        case ed25519.Ed25519PrivateKey():
            return wire.string("ssh-ed25519") + wire.string(key.sign(data))
        case rsa.RSAPrivateKey():
            signature = key.sign(data, padding.PKCS1v15(), hashes.SHA512())
            return wire.string("rsa-sha2-512") + wire.string(signature)
        case ec.EllipticCurvePrivateKey():
            der = key.sign(data, ec.ECDSA(HASHES[key.curve.key_size]))
            r, s = utils.decode_dss_signature(der)
            name = wire.string(f"ecdsa-sha2-nistp{key.curve.key_size}")
            return name + wire.string(wire.mpint(r) + wire.mpint(s))


def certified(contents, key):
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    contents = replace(contents, signature_key=PublicKey.parse(line))
    return signed(contents, sign(key, contents.to_be_signed))


def ssh_keygen(*arguments, text):
    return subprocess.run(
        ["ssh-keygen", *arguments, "-f", "-"],
        input=text + "\n",
        env={**os.environ, "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("contents", [USER, HOST], ids=["user", "host"])
@pytest.mark.parametrize("authority", AUTHORITIES.values(), ids=AUTHORITIES)
@pytest.mark.parametrize("subject", KEYS, ids=lambda key: key.algorithm)
def test_ssh_keygen_verifies_and_reads_what_we_wrote(subject, authority, contents):
    # ssh-keygen checks the signature of a certificate when it loads it.
    certificate = certified(replace(contents, subject_key=subject), authority)
    shown = ssh_keygen("-L", text=certificate.line).splitlines()
    assert listing(certificate) == [line.removeprefix("        ") for line in shown[1:]]


def test_ssh_keygen_refuses_a_certificate_that_another_key_signed():
    certificate = certified(USER, AUTHORITIES["ed25519"])
    forged = signed(certificate.contents, sign(ed25519.Ed25519PrivateKey.generate(), b"other"))
    with pytest.raises(subprocess.CalledProcessError):
        ssh_keygen("-L", text=forged.line)


def test_ssh_keygen_reads_our_for_ever():
    certificate = certified(replace(USER, valid_before=FOREVER), AUTHORITIES["ed25519"])
    assert "Valid: after 2026-01-01T12:00:00" in ssh_keygen("-L", text=certificate.line)


@pytest.mark.parametrize("authority", AUTHORITIES.values(), ids=AUTHORITIES)
@pytest.mark.parametrize(
    "subject",
    [key for key in KEYS if not key.hardware],  # cryptography reads no certificate of the others
    ids=lambda key: key.algorithm,
)
def test_cryptography_verifies_and_reads_what_we_wrote(subject, authority):
    certificate = certified(replace(USER, subject_key=subject), authority)
    read = load_ssh_public_identity(certificate.line.encode())
    read.verify_cert_signature()
    contents = certificate.contents
    assert contents.serial == read.serial
    assert contents.key_id.encode() == read.key_id
    assert [name.encode() for name in contents.principals] == read.valid_principals
    assert contents.valid_after.timestamp() == read.valid_after
    assert contents.valid_before.timestamp() == read.valid_before
    assert read.critical_options == {
        b"force-command": b"/bin/true",
        b"source-address": b"192.0.2.0/24",
    }
    assert read.extensions == {b"permit-X11-forwarding": b"", b"permit-pty": b""}
    assert load_ssh_public_key(subject.line.encode()) == read.public_key()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_ssh_keygen_shows_the_same_size_and_fingerprint(key):
    bits, fingerprint, *_ = ssh_keygen("-l", text=key.line).split()
    assert [str(key.bits), key.fingerprint] == [bits, fingerprint]
