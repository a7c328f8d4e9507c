"""What every `Verifier` promises, and the client's verifier with them.

Signatures are ssh-keygen's, or made with cryptography.
"""

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tatu.client import verifying
from tatu.core import wire
from tatu.core.errors import Denied
from tatu.core.keys import PublicKey
from tatu.core.sshsig import SshSignature, to_be_signed
from tatu.drivers.verifier.cryptography import CryptographyVerifier

VECTORS = Path(__file__).parents[2] / "vectors" / "sshsig"
DATA = b"what was signed"
CURVES = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


@pytest.fixture(params=[CryptographyVerifier(), verifying], ids=["server", "client"])
def verifier(request):
    return request.param


@pytest.fixture
def hardware_verifier():
    """What takes signatures by security keys: the client never meets one."""
    return CryptographyVerifier()


def line(private_key):
    data = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return PublicKey.parse(data.decode())


def blob(algorithm, *parts, tail=b""):
    return wire.string(algorithm) + wire.string(b"".join(parts)) + tail


def numbers(key, digest, data):
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
    return wire.mpint(r) + wire.mpint(s)


def signed_ed25519():
    key = ed25519.Ed25519PrivateKey.generate()
    return line(key), blob("ssh-ed25519", key.sign(DATA))


def signed_ecdsa(name):
    curve, digest = CURVES[name]
    key = ec.generate_private_key(curve)
    return line(key), blob(f"ecdsa-sha2-{name}", numbers(key, digest, DATA))


RSA_KEY = rsa.generate_private_key(65537, 2048)


def signed_rsa(algorithm, digest):
    return line(RSA_KEY), blob(algorithm, RSA_KEY.sign(DATA, padding.PKCS1v15(), digest))


def asserted(flags, counter, application="ssh:", data=DATA):
    head = hashlib.sha256(application.encode()).digest()
    return head + bytes([flags]) + wire.uint32(counter) + hashlib.sha256(data).digest()


def signed_sk_ed25519(flags=0x01, counter=7, **parts):
    key = ed25519.Ed25519PrivateKey.generate()
    point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    algorithm = "sk-ssh-ed25519@openssh.com"
    public = PublicKey.from_blob(b"".join(map(wire.string, (algorithm, point, "ssh:"))))
    tail = bytes([flags]) + wire.uint32(counter)
    return public, blob(algorithm, key.sign(asserted(flags, counter, **parts)), tail=tail)


def signed_sk_ecdsa(flags=0x01, counter=7, **parts):
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    algorithm = "sk-ecdsa-sha2-nistp256@openssh.com"
    fields = (algorithm, "nistp256", point, "ssh:")
    public = PublicKey.from_blob(b"".join(map(wire.string, fields)))
    tail = bytes([flags]) + wire.uint32(counter)
    return public, blob(
        algorithm, numbers(key, hashes.SHA256(), asserted(flags, counter, **parts)), tail=tail
    )


PLAIN = {
    "ed25519": signed_ed25519,
    "ecdsa256": lambda: signed_ecdsa("nistp256"),
    "ecdsa384": lambda: signed_ecdsa("nistp384"),
    "ecdsa521": lambda: signed_ecdsa("nistp521"),
    "rsa256": lambda: signed_rsa("rsa-sha2-256", hashes.SHA256()),
    "rsa512": lambda: signed_rsa("rsa-sha2-512", hashes.SHA512()),
}
HARDWARE = {"sk-ed25519": signed_sk_ed25519, "sk-ecdsa": signed_sk_ecdsa}
MAKERS = {**PLAIN, **HARDWARE}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_signature_of_each_type_verifies(verifier, kind):
    verifier.verify(*PLAIN[kind](), DATA)


@pytest.mark.parametrize("kind", HARDWARE)
def test_a_security_keys_signature_verifies_on_the_server_alone(hardware_verifier, kind):
    hardware_verifier.verify(*HARDWARE[kind](), DATA)
    with pytest.raises(Denied):
        verifying.verify(*HARDWARE[kind](), DATA)


@pytest.mark.parametrize("kind", MAKERS)
def test_other_data_are_denied(verifier, kind):
    with pytest.raises(Denied):
        verifier.verify(*MAKERS[kind](), DATA + b".")


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if "rsa" not in kind])
def test_another_key_of_the_same_type_is_denied(verifier, kind):
    (other, _), (_, signature) = MAKERS[kind](), MAKERS[kind]()
    with pytest.raises(Denied):
        verifier.verify(other, signature, DATA)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_prefix_and_every_suffix_is_denied(verifier, kind):
    key, signature = MAKERS[kind]()
    for wrong in (*(signature[:at] for at in range(len(signature))), signature + b"\0"):
        with pytest.raises(Denied):
            verifier.verify(key, wrong, DATA)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_flipped_bit_is_denied(verifier, kind):
    key, signature = MAKERS[kind]()
    for at in range(len(signature)):
        wrong = bytearray(signature)
        wrong[at] ^= 1 << at % 8
        with pytest.raises(Denied):
            verifier.verify(key, bytes(wrong), DATA)


@pytest.mark.parametrize("maker", [signed_sk_ed25519, signed_sk_ecdsa])
def test_a_security_key_that_was_not_touched_is_denied(verifier, maker):
    with pytest.raises(Denied):
        verifier.verify(*maker(flags=0x04), DATA)


@pytest.mark.parametrize("maker", [signed_sk_ed25519, signed_sk_ecdsa])
def test_a_security_key_that_also_verified_its_user_is_accepted(hardware_verifier, maker):
    hardware_verifier.verify(*maker(flags=0x05), DATA)


@pytest.mark.parametrize("maker", [signed_sk_ed25519, signed_sk_ecdsa])
def test_a_signature_for_another_application_is_denied(verifier, maker):
    with pytest.raises(Denied):
        verifier.verify(*maker(application="ssh:other"), DATA)


def test_a_sha1_signature_is_denied(verifier):
    with pytest.raises(Denied):
        verifier.verify(*signed_rsa("ssh-rsa", hashes.SHA1()), DATA)


def test_an_algorithm_that_names_another_hash_is_denied(verifier):
    with pytest.raises(Denied):
        verifier.verify(*signed_rsa("rsa-sha2-512", hashes.SHA256()), DATA)


def test_a_key_that_was_never_checked_is_denied_not_a_crash(verifier):
    for key in (
        PublicKey("ssh-ed25519", b""),
        PublicKey("ssh-ed25519", wire.string("ssh-ed25519") + wire.string(bytes(32))),
        PublicKey("ssh-dss", wire.string("ssh-dss")),
    ):
        with pytest.raises(Denied):
            verifier.verify(key, blob("ssh-ed25519", bytes(64)), DATA)


def test_a_key_under_which_anyone_can_sign_is_denied(verifier):
    neutral = b"\x01" + bytes(31)
    key = PublicKey("ssh-ed25519", wire.string("ssh-ed25519") + wire.string(neutral))
    with pytest.raises(Denied):
        verifier.verify(key, blob("ssh-ed25519", neutral + bytes(32)), DATA)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_what_ssh_keygen_signed_verifies(verifier, path):
    scenario = json.loads(path.read_text())
    signature = SshSignature.parse(scenario["armored"])
    assert PublicKey.parse(scenario["public_key"]) == signature.public_key
    message = to_be_signed(
        scenario["namespace"], scenario["message"].encode(), signature.hash_algorithm
    )
    verifier.verify(signature.public_key, signature.signature, message)
    with pytest.raises(Denied):
        verifier.verify(signature.public_key, signature.signature, message + b".")
