from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import wire
from tatu.core.accounts import RESERVED_ACCOUNTS
from tatu.core.certificate import FOREVER, Certificate, CertificateType, Options, signed
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey
from tatu.core.lint import Limits, check, findings
from tests.unit.test_certificate import BLOB, CONTENTS, NOON, SIGNATURE
from tests.vectors import CERTIFICATES
from tests.vectors.keys import ECDSA_256, ED25519, RSA

LIMITS = Limits(
    max_user_validity=timedelta(hours=24),
    max_host_validity=timedelta(days=7),
    reserved=RESERVED_ACCOUNTS,
)
HOST = replace(CONTENTS, type=CertificateType.HOST, principals=("db",), extensions={})
WEAK = PublicKey("ssh-rsa", wire.string("ssh-rsa") + wire.mpint(65537) + wire.mpint(2**1023 + 1))


def codes(certificate):
    return [finding.code for finding in findings(certificate, LIMITS)]


@pytest.mark.parametrize("vector", CERTIFICATES.values(), ids=CERTIFICATES)
def test_what_ssh_keygen_signs_is_found_out(vector):
    assert vector["findings"] == codes(Certificate.parse(vector["certificate"]))


@pytest.mark.parametrize("contents", [CONTENTS, HOST])
def test_a_certificate_as_it_should_be_passes(contents):
    check(contents, LIMITS)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"serial": 0}, ["no-serial"]),
        ({"nonce": b"n" * 15}, ["short-nonce"]),
        ({"key_id": ""}, ["empty-key-id"]),
        ({"key_id": " "}, ["empty-key-id"]),
        ({"key_id": "alice\n7"}, ["control-character-in-key-id"]),
        ({"key_id": "alice\u202e7"}, ["control-character-in-key-id"]),
        ({"key_id": "a" * 256}, []),
        ({"key_id": "a" * 257}, ["long-key-id"]),
        ({"principals": ()}, ["no-principals"]),
        ({"principals": ("",)}, ["empty-principal"]),
        ({"principals": (" ",)}, ["blank-principal"]),
        ({"principals": ("admin ",)}, ["blank-principal"]),
        ({"principals": ("a", "b", "a")}, ["duplicate-principal"]),
        ({"principals": ("*",)}, ["wildcard-principal"]),
        ({"principals": ("admi?",)}, ["wildcard-principal"]),
        ({"principals": ("!admin",)}, ["wildcard-principal"]),
        ({"principals": ("root",)}, ["reserved-principal"]),
        ({"principals": ("ubuntu",)}, ["reserved-principal"]),
        ({"principals": ("member,admin",)}, ["comma-in-principal"]),
        ({"principals": ("member\x00admin",)}, ["control-character-in-principal"]),
        (
            {"principals": ("member\nadmin",)},
            ["blank-principal", "control-character-in-principal"],
        ),
        ({"principals": tuple(f"p{n}" for n in range(256))}, []),
        ({"principals": tuple(f"p{n}" for n in range(257))}, ["too-many-principals"]),
        ({"valid_before": FOREVER}, ["no-end"]),
        ({"valid_before": NOON}, ["inverted-validity"]),
        ({"valid_before": NOON - timedelta(seconds=1)}, ["inverted-validity"]),
        ({"valid_before": NOON + timedelta(hours=24, minutes=5)}, []),
        ({"valid_before": NOON + timedelta(hours=24, minutes=5, seconds=1)}, ["long-validity"]),
        ({"valid_after": datetime(1970, 1, 1, tzinfo=UTC)}, ["long-validity", "no-beginning"]),
        ({"critical_options": {"force-command": "ls"}}, []),
        ({"critical_options": {"force-command": ""}}, ["empty-force-command"]),
        ({"critical_options": {"force-command": " "}}, ["empty-force-command"]),
        ({"critical_options": {"verify-required": ""}}, []),
        ({"critical_options": {"verify-required": "yes"}}, ["option-value"]),
        ({"critical_options": {"permit-pty": ""}}, ["extension-as-option"]),
        ({"critical_options": {"x@example": ""}}, ["unknown-option"]),
        ({"critical_options": {"no-touch-required": ""}}, ["unknown-option"]),
        ({"extensions": {"force-command": "ls"}}, ["option-as-extension"]),
        ({"extensions": {"source-address": "192.0.2.1"}}, ["option-as-extension"]),
        ({"extensions": {"verify-required": ""}}, ["option-as-extension"]),
        ({"extensions": {"no-touch-required": ""}}, ["no-touch-required"]),
        ({"extensions": {"x@example": ""}}, ["unknown-extension"]),
        ({"extensions": {"permit-pty": "yes"}}, ["extension-value"]),
        ({"extensions": Options((("permit-pty", wire.string(b"")),))}, ["extension-value"]),
        ({"extensions": Options((("permit-pty", b""),) * 2)}, ["duplicate-option"]),
        (
            {"extensions": Options((("permit-pty", b""), ("permit-X11-forwarding", b"")))},
            ["unordered-options"],
        ),
        (
            {
                "critical_options": Options(
                    (("verify-required", b""), ("force-command", wire.string("ls")))
                )
            },
            ["unordered-options"],
        ),
        ({"subject_key": WEAK}, ["subject-key"]),
        ({"signature_key": WEAK}, ["signature-key"]),
        ({"signature_key": PublicKey("ssh-dss", wire.string("ssh-dss"))}, ["signature-key"]),
        ({"subject_key": ECDSA_256}, ["key-certifies-itself"]),
    ],
)
def test_each_rule_finds_its_user_certificate(change, expected):
    assert expected == codes(replace(CONTENTS, **change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"principals": ("db.blue.example", "192.0.2.7", "2001:db8::7")}, []),
        ({"principals": ("2f1acc5e-7d0e-4a6f-9f0e-3c1f2f6ad001",)}, []),
        ({"principals": ("root",)}, []),
        ({"principals": ("DB.blue.example",)}, ["host-name"]),
        ({"principals": ("-db",)}, ["host-name"]),
        ({"principals": ("db.",)}, ["host-name"]),
        ({"principals": ("d_b",)}, ["host-name"]),
        ({"principals": ("192.0.2.300",)}, ["host-name"]),
        ({"principals": ("2001:db8:0::7",)}, ["host-name"]),
        ({"principals": ("fe80::1%eth0",)}, ["host-name"]),
        ({"principals": ("[192.0.2.7]:22",)}, ["host-name"]),
        ({"principals": ("a" * 64,)}, ["host-name"]),
        ({"principals": ("*.blue.example",)}, ["wildcard-principal", "host-name"]),
        ({"principals": ()}, ["no-principals"]),
        ({"extensions": {"permit-pty": ""}}, ["host-options"]),
        ({"critical_options": {"force-command": "ls"}}, ["host-options"]),
        ({"valid_before": NOON + timedelta(days=7)}, []),
        ({"valid_before": NOON + timedelta(days=8)}, ["long-validity"]),
    ],
)
def test_each_rule_finds_its_host_certificate(change, expected):
    assert expected == codes(replace(HOST, **change))


@pytest.mark.parametrize("value", ["192.0.2.1", "192.0.2.0/24,2001:DB8::/32", "0.0.0.0/0", "::1"])
def test_a_list_of_addresses_and_networks_is_a_source_address(value):
    check(replace(CONTENTS, critical_options={"source-address": value}), LIMITS)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ",",
        "192.0.2.1,",
        "192.0.2.1, 192.0.2.2",
        "192.0.2.1/24",
        "192.0.2.0/33",
        "192.0.2.0/255.255.255.0",
        "192.0.2.0/",
        "!192.0.2.1",
        "192.0.2.*",
        "fe80::1%eth0",
        "example.com",
        "192.0.2.1\n",
    ],
)
def test_what_sshd_would_misread_is_no_source_address(value):
    assert codes(replace(CONTENTS, critical_options={"source-address": value})) == [
        "source-address"
    ]


@pytest.mark.parametrize(
    ("key", "algorithm", "expected"),
    [
        (RSA, "rsa-sha2-512", []),
        (RSA, "rsa-sha2-256", []),
        (RSA, "ssh-rsa", ["signature-algorithm"]),
        (ECDSA_256, "ecdsa-sha2-nistp256", []),
        (ECDSA_256, "rsa-sha2-512", ["signature-algorithm"]),
        (ECDSA_256, "webauthn-sk-ecdsa-sha2-nistp256@openssh.com", ["signature-algorithm"]),
    ],
)
def test_the_signature_must_be_of_its_key_and_never_sha_1(key, algorithm, expected):
    contents = replace(CONTENTS, subject_key=ED25519, signature_key=key)
    signature = wire.string(algorithm) + wire.string(b"s" * 64)
    assert expected == codes(signed(contents, signature))


def test_all_that_is_wrong_is_told_at_once():
    contents = replace(CONTENTS, principals=("root", "a,b"), valid_before=FOREVER)
    with pytest.raises(Malformed) as refused:
        check(contents, LIMITS)
    assert str(refused.value) == (
        "the certificate is refused: reserved-principal: principal 'root' is reserved; "
        "comma-in-principal: principal 'a,b' holds a comma; no-end: the certificate never expires"
    )


def test_the_text_of_a_finding_holds_no_control_characters():
    contents = replace(CONTENTS, principals=("\x1b[2J\n\u202e",))
    assert all(finding.text.isprintable() for finding in findings(contents, LIMITS))


def test_what_is_signed_is_linted_as_what_is_to_be_signed():
    contents = replace(CONTENTS, principals=("root",))
    assert codes(contents) == codes(Certificate.from_blob(signed(contents, SIGNATURE).blob))


@given(st.integers(0, len(BLOB) - 1), st.integers(1, 255))
def test_every_certificate_that_is_read_is_linted(at, change):
    mutated = bytearray(BLOB)
    mutated[at] ^= change
    try:
        certificate = Certificate.from_blob(bytes(mutated))
    except Malformed:
        return
    findings(certificate, LIMITS)
