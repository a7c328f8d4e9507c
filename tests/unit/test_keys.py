import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import wire
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey
from tests.vectors import CERTIFICATES
from tests.vectors.keys import ECDSA_256, ED25519, KEYS, RSA, SK_ECDSA, SK_ED25519, sk

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def line(*fields, algorithm=None):
    """Return the line of a key made of any fields."""
    name = algorithm or fields[0]
    blob = b"".join(map(wire.string, fields))
    return f"{name} {base64.b64encode(blob).decode()}"


def rsa(modulus, exponent=65537):
    blob = wire.string("ssh-rsa") + wire.mpint(exponent) + wire.mpint(modulus)
    return "ssh-rsa " + base64.b64encode(blob).decode()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
class TestEachType:
    def test_a_key_is_read_from_its_line_and_its_blob(self, key):
        assert key == PublicKey.parse(key.line)
        assert key == PublicKey.from_blob(key.blob)
        assert key.line == str(key)

    def test_a_comment_spaces_and_the_end_of_the_line_are_dropped(self, key):
        assert key == PublicKey.parse(f"  {key.line.replace(' ', '  ')}\talice@läptop comment\r\n")

    def test_every_prefix_is_malformed(self, key):
        for cut in range(len(key.blob)):
            with pytest.raises(Malformed):
                PublicKey.from_blob(key.blob[:cut])

    def test_one_byte_more_is_malformed(self, key):
        with pytest.raises(Malformed, match="1 bytes too many"):
            PublicKey.from_blob(key.blob + b"\0")

    @given(data=st.data())
    def test_every_mutation_is_a_key_or_malformed(self, key, data):
        mutated = bytearray(key.blob)
        mutated[data.draw(st.integers(0, len(mutated) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            read = PublicKey.from_blob(bytes(mutated))
        except Malformed:
            return
        assert read.blob == bytes(mutated)

    def test_the_fields_are_what_stands_behind_the_name(self, key):
        assert key.blob == wire.string(key.algorithm) + key.fields

    def test_only_security_keys_are_hardware(self, key):
        assert (key in (SK_ED25519, SK_ECDSA)) is key.hardware

    def test_one_type_under_the_name_of_another_is_malformed(self, key):
        other = "ssh-ed25519" if key.algorithm != "ssh-ed25519" else "ssh-rsa"
        with pytest.raises(Malformed, match="the line says"):
            PublicKey.parse(f"{other} {key.line.split()[1]}")
        with pytest.raises(Malformed, match="does not match its data"):
            PublicKey(other, key.blob).check()


def test_sizes_are_those_that_openssh_shows():
    assert [key.bits for key in KEYS] == [2048, 256, 384, 521, 256, 256, 256]


def test_the_fingerprint_is_written_as_openssh_writes_it():
    assert ED25519.fingerprint == "SHA256:Mw1fvCi2Rc1wNcfGwutXaSdyJxA/Qs/Xjd0i9xDi3Ag"


@given(st.text(max_size=80))
def test_any_text_is_malformed(text):
    with pytest.raises(Malformed):
        PublicKey.parse(text)


@given(st.binary(max_size=80))
def test_any_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        PublicKey.from_blob(data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a line"),
        ("ssh-ed25519", "not a line"),
        ("ssh-ed25519 AAA!", "bad base64"),
        ("ssh-ed25519 ÄÖÜ=", "bad base64"),
        (ED25519.line + "\n" + ED25519.line, "several lines"),
        (ED25519.line + " a\0b", "control characters"),
        (ED25519.line + " a\x9bb", "control characters"),
        (ED25519.line + " " + "x" * 16_384, "longer than 16384 characters"),
        ('command="ls" ' + ED25519.line, "not a line"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", "this is a private key"),
        ("\n-----BEGIN RSA PRIVATE KEY-----\n", "this is a private key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "this is a private key"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "ssh-dss keys are too weak"),
        (line("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", "x"), "no type of public key"),
        (line("x" * 100), "'x{61}\\.\\.\\.' is no type of public key"),
        (CERTIFICATES["user"]["certificate"], "is a certificate; give its key"),
        (rsa(2**1023 + 1), "2048 to 16384 bits, not 1024"),
        (rsa(2**16_384 + 1), "2048 to 16384 bits, not 16385"),
        (rsa(2**2047), "modulus is even"),
        (rsa(2**2047 + 1, 1), "exponent"),
        (rsa(2**2047 + 1, 65536), "exponent"),
        (rsa(2**2047 + 1, 2**64 + 1), "exponent"),
        (line("ssh-ed25519", b"x" * 31), "32 bytes, not 31"),
        (line("ssh-ed25519", b"\xff" * 32), "canonical form"),
        (line("ecdsa-sha2-nistp256", "nistp384", b"\4" * 97), "curve does not match its type"),
        (line("ecdsa-sha2-nistp256", "nistp256", b"\0"), "not an uncompressed point"),
        (line("ecdsa-sha2-nistp256", "nistp256", b"\2" + bytes(32)), "not an uncompressed point"),
        (line("ecdsa-sha2-nistp256", "nistp256", b"\4" + bytes(64)), "not on its curve"),
        (line("ecdsa-sha2-nistp256", "nistp256", b"\4" + b"\xff" * 64), "not on its curve"),
        (sk(ED25519, SK_ED25519.algorithm, "https://example.com").line, "begin with 'ssh:'"),
        (sk(ECDSA_256, SK_ECDSA.algorithm, "").line, "begin with 'ssh:'"),
    ],
)
def test_what_is_no_key_is_refused_with_the_reason(text, reason):
    with pytest.raises(Malformed, match=reason):
        PublicKey.parse(text)


def test_a_certificate_is_refused_as_a_blob_too():
    blob = base64.b64decode(CERTIFICATES["user"]["certificate"].split()[1])
    with pytest.raises(Malformed, match="is a certificate; give its key"):
        PublicKey.from_blob(blob)


def test_a_comment_about_private_keys_is_only_a_comment():
    assert PublicKey.parse(ED25519.line + " my PRIVATE KEY's other half") == ED25519


def test_an_exponent_of_three_is_taken():
    assert PublicKey.parse(rsa(2**2047 + 1, 3)).bits == 2048


def add(one, other):
    """Add two points of Ed25519 (RFC 8032, section 5.1.4, in affine form)."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def small_order_points():
    """The multiples of a point of order eight.

    Its double has y = 0, so x² = -y², and the curve -x² + y² = 1 + d x² y² leaves d y⁴ + 2 y² = 1.
    """
    root = pow(2, (P - 1) // 4, P)  # of minus one
    squares = [(sign * _sqrt(1 + D, root) - 1) * pow(D, -1, P) % P for sign in (1, -1)]
    y = _sqrt(next(number for number in squares if pow(number, (P - 1) // 2, P) == 1), root)
    generator = (root * y % P, y)
    return list(itertools.accumulate([generator] * 8, add))


def _sqrt(number, root):
    found = pow(number, (P + 3) // 8, P)
    return found if (found * found - number) % P == 0 else found * root % P


def test_all_eight_points_of_small_order_are_refused():
    points = small_order_points()
    assert len(set(points)) == 8
    assert points[-1] == (0, 1)
    for x, y in points:
        encoded = (y | (x & 1) << 255).to_bytes(32, "little")
        with pytest.raises(Malformed, match="small order"):
            PublicKey.parse(line("ssh-ed25519", encoded))


def test_rsa_has_no_second_form_with_leading_zeros():
    reader = wire.Reader(RSA.fields)
    exponent, modulus = reader.string(), reader.string()
    with pytest.raises(Malformed, match="needless leading zero"):
        PublicKey.parse(line("ssh-rsa", b"\0" + exponent, modulus))
