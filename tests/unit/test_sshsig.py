import base64
import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import sshsig, wire
from tatu.core.errors import Denied, Malformed
from tatu.core.sshsig import Namespace, SshSignature
from tests.vectors import keys

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "sshsig").glob("*.json"))
KEY = keys.ED25519
BLOB = wire.string("ssh-ed25519") + wire.string(bytes(64))
SIGNATURE = SshSignature(KEY, "login@tatu", "sha512", BLOB)


def verify(public_key, blob, data):
    """Verify an SSH signature blob with cryptography."""
    key, reader = load_ssh_public_key(public_key.line.encode()), wire.Reader(blob)
    algorithm, raw = reader.text(), reader.string()
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(raw, data)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]
        halves = wire.Reader(raw)
        key.verify(encode_dss_signature(halves.mpint(), halves.mpint()), data, ec.ECDSA(size))
    else:
        size = {"rsa-sha2-512": hashes.SHA512(), "rsa-sha2-256": hashes.SHA256()}[algorithm]
        key.verify(raw, data, padding.PKCS1v15(), size)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_what_ssh_keygen_signed_is_read_and_verifies(path):
    vector = json.loads(path.read_text())
    signature = SshSignature.parse(vector["armored"])
    assert signature.armored == vector["armored"]
    assert signature.public_key.line == vector["public_key"]
    assert signature.namespace == vector["namespace"]
    message = vector["message"].encode()
    if vector["refused"]:
        with pytest.raises(Denied, match=vector["refused"]):
            signature.signed_bytes(Namespace.LOGIN, message)
        return
    namespace = Namespace(vector["namespace"])
    verify(signature.public_key, signature.signature, signature.signed_bytes(namespace, message))
    with pytest.raises(InvalidSignature):
        verify(signature.public_key, signature.signature, signature.signed_bytes(namespace, b"x"))


def test_there_are_vectors():
    assert len(VECTORS) >= 7


def test_the_bytes_to_be_signed_hold_purpose_and_hash():
    digest = hashlib.sha512(b"hello").digest()
    assert sshsig.to_be_signed(Namespace.HOST, b"hello") == (
        b"SSHSIG\0\0\0\x09host@tatu\0\0\0\0\0\0\0\x06sha512\0\0\0\x40" + digest
    )


def test_an_unknown_hash_is_refused():
    with pytest.raises(ValueError, match="sha256 or sha512"):
        sshsig.to_be_signed(Namespace.HOST, b"hello", "sha1")
    with pytest.raises(Malformed, match="sha256 or sha512"):
        SshSignature(KEY, "login@tatu", "sha1", BLOB)


@pytest.mark.parametrize("purpose", [purpose for purpose in Namespace if purpose != "login@tatu"])
def test_a_signature_for_one_purpose_serves_no_other(purpose):
    with pytest.raises(Denied, match="login@tatu"):
        SIGNATURE.signed_bytes(purpose, b"hello")


def test_both_forms_are_read_back():
    assert SshSignature.parse(SIGNATURE.armored) == SIGNATURE
    assert SshSignature.parse(SIGNATURE.armored.rstrip("\n")) == SIGNATURE
    assert SshSignature.parse(SIGNATURE.armored.replace("\n", "\r\n")) == SIGNATURE
    assert SshSignature.from_envelope(SIGNATURE.envelope) == SIGNATURE


@pytest.mark.parametrize(
    ("key", "algorithm", "rest"),
    [
        (keys.RSA, "rsa-sha2-512", b""),
        (keys.RSA, "rsa-sha2-256", b""),
        (keys.ECDSA_256, "ecdsa-sha2-nistp256", b""),
        (keys.SK_ED25519, "sk-ssh-ed25519@openssh.com", b"\1\0\0\0\7"),
        (keys.SK_ECDSA, "sk-ecdsa-sha2-nistp256@openssh.com", b"\1\0\0\0\7"),
    ],
)
def test_each_key_signs_with_its_own_algorithm(key, algorithm, rest):
    blob = wire.string(algorithm) + wire.string(b"x") + rest
    signature = SshSignature(key, "login@tatu", "sha512", blob)
    assert SshSignature.parse(signature.armored) == signature


@pytest.mark.parametrize(
    ("key", "blob", "why"),
    [
        (keys.RSA, wire.string("ssh-rsa") + wire.string(b"x"), "does not sign 'ssh-rsa'"),
        (keys.RSA, BLOB, "does not sign 'ssh-ed25519'"),
        (KEY, wire.string("rsa-sha2-512") + wire.string(b"x"), "does not sign"),
        (
            keys.SK_ECDSA,
            wire.string("webauthn-sk-ecdsa-sha2-nistp256@openssh.com"),
            "does not sign",
        ),
        (
            keys.SK_ED25519,
            wire.string("sk-ssh-ed25519@openssh.com") + wire.string(b"x"),
            "malformed at byte",
        ),
        (KEY, BLOB + b"x", "too many"),
        (KEY, b"", "malformed at byte"),
    ],
)
def test_what_a_key_does_not_sign_is_refused(key, blob, why):
    with pytest.raises(Malformed, match=why):
        SshSignature(key, "login@tatu", "sha512", blob)


def test_a_signature_without_a_namespace_is_refused():
    with pytest.raises(Malformed, match="namespace"):
        SshSignature(KEY, "", "sha512", BLOB)


def envelope(*, version=1, reserved=b"", tail=b""):
    fields = map(wire.string, (KEY.blob, "login@tatu", reserved, "sha512", BLOB))
    return b"SSHSIG" + wire.uint32(version) + b"".join(fields) + tail


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no SSH signature"),
        (envelope(version=2), "unknown version"),
        (envelope(reserved=b"x"), "reserved"),
        (envelope(tail=b"x"), "too many"),
    ],
)
def test_an_envelope_that_holds_more_or_else_is_refused(data, why):
    with pytest.raises(Malformed, match=why):
        SshSignature.from_envelope(data)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: " " + text, "no armored"),
        (lambda text: text + "\n", "no armored"),
        (lambda text: text + "x", "no armored"),
        (lambda text: text.replace("SSH SIGNATURE", "PGP SIGNATURE"), "no armored"),
        (lambda text: text.replace("\n", "\n\n", 1), "empty"),
        (lambda text: text.replace("\n", "\r", 1), "no armored"),
        (lambda text: text[:40] + text[40:].replace("\n", "", 1), "too long"),
        (lambda text: text.replace("U1NI", "U1N!", 1), "base64"),
        (lambda text: text.replace("U1NI", "ü1NI", 1), "base64"),
        (lambda text: text.replace("\n-----END", "A\n-----END"), "base64"),
        (lambda text: text * 60, "over 16384"),
    ],
)
def test_an_armor_that_is_not_exact_is_refused(change, why):
    with pytest.raises(Malformed, match=why):
        SshSignature.parse(change(SIGNATURE.armored))


def test_base64_with_unused_bits_set_is_refused():
    signature = SshSignature(KEY, "sudo@tatu", "sha512", BLOB)
    data = base64.b64encode(signature.envelope).decode()
    assert data.endswith("A=")
    with pytest.raises(Malformed, match="canonical"):
        SshSignature.parse(signature.armored.replace("A=", "B="))


def test_every_prefix_is_malformed():
    for end in range(len(SIGNATURE.envelope)):
        with pytest.raises(Malformed):
            SshSignature.from_envelope(SIGNATURE.envelope[:end])
    for end in range(len(SIGNATURE.armored) - 1):
        with pytest.raises(Malformed):
            SshSignature.parse(SIGNATURE.armored[:end])


@given(st.data())
def test_every_mutation_is_read_or_malformed(data):
    blob = bytearray(SIGNATURE.envelope)
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):
        signature = SshSignature.from_envelope(bytes(blob))
        assert signature.envelope == blob


@given(st.text(), st.integers(0, 400))
def test_any_text_is_read_or_malformed(text, at):
    armored = SIGNATURE.armored
    for foreign in (text, armored[:at] + text + armored[at:]):
        with contextlib.suppress(Malformed):
            SshSignature.parse(foreign)
