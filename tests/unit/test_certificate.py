import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import wire
from tatu.core.certificate import (
    FOREVER,
    Certificate,
    CertificateToSign,
    CertificateType,
    Options,
    signed,
)
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey
from tests.vectors import CERTIFICATES, listing
from tests.vectors.keys import ECDSA_256, ED25519, KEYS, SK_ED25519

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONTENTS = CertificateToSign(
    subject_key=ED25519,
    type=CertificateType.USER,
    serial=7,
    key_id="alice_7",
    principals=("admin", "member"),
    valid_after=NOON,
    valid_before=NOON + timedelta(hours=8),
    critical_options={},
    extensions={"permit-pty": ""},
    signature_key=ECDSA_256,
    nonce=b"n" * 32,
)
SIGNATURE = wire.string(ECDSA_256.algorithm) + wire.string(b"s" * 64)
BLOB = signed(CONTENTS, SIGNATURE).blob


@pytest.mark.parametrize("vector", CERTIFICATES.values(), ids=CERTIFICATES)
def test_what_ssh_keygen_made_is_read_as_ssh_keygen_reads_it_and_given_back(vector):
    certificate = Certificate.parse(vector["certificate"])
    assert vector["listing"] == listing(certificate)
    assert vector["certificate"].split()[:2] == certificate.line.split()
    assert certificate == Certificate.from_blob(certificate.blob)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    list(
        zip(
            KEYS,
            (
                "ssh-rsa-cert-v01@openssh.com",
                "ecdsa-sha2-nistp256-cert-v01@openssh.com",
                "ecdsa-sha2-nistp384-cert-v01@openssh.com",
                "ecdsa-sha2-nistp521-cert-v01@openssh.com",
                "ssh-ed25519-cert-v01@openssh.com",
                "sk-ssh-ed25519-cert-v01@openssh.com",
                "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
            ),
            strict=True,
        )
    ),
)
def test_each_type_of_key_has_its_certificate_and_keeps_all_its_fields(key, algorithm):
    certificate = signed(replace(CONTENTS, subject_key=key), SIGNATURE)
    assert algorithm == certificate.contents.algorithm
    assert key == Certificate.parse(str(certificate)).contents.subject_key


def test_what_was_signed_is_what_is_served():
    assert CONTENTS.to_be_signed + wire.string(SIGNATURE) == BLOB
    assert Certificate(CONTENTS, SIGNATURE) == Certificate.from_blob(BLOB)


def test_options_are_written_in_the_order_of_their_bytes():
    extensions = {"permit-pty": "", "permit-X11-forwarding": "", "permit-agent-forwarding": ""}
    contents = replace(CONTENTS, extensions=extensions)
    assert list(contents.extensions) == [
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-pty",
    ]


def test_a_value_is_a_string_inside_a_string_and_no_value_is_empty():
    options = Options.of({"force-command": "ls", "verify-required": ""})
    assert options.pairs == (("force-command", b"\0\0\0\2ls"), ("verify-required", b""))
    assert options == {"force-command": "ls", "verify-required": ""}
    assert hash(options) == hash(Options.of(dict(options)))
    assert repr(options) == "{'force-command': 'ls', 'verify-required': ''}"
    assert len(options) == 2


def test_nobody_changes_the_options_after_they_are_encoded():
    options = {"force-command": "ls"}
    contents = replace(CONTENTS, critical_options=options)
    before = contents.to_be_signed
    options.clear()
    assert before == contents.to_be_signed
    assert contents.critical_options == {"force-command": "ls"}


def test_order_and_repetition_of_options_survive_reading():
    pairs = (("b", b""), ("a", b"\0\0\0\1x"), ("b", b"\0\0\0\0"))
    contents = replace(CONTENTS, extensions=Options(pairs))
    read = Certificate.from_blob(signed(contents, SIGNATURE).blob)
    assert pairs == read.contents.extensions.pairs


@pytest.mark.parametrize(
    "moment", [NOON.replace(tzinfo=None), NOON.replace(microsecond=1), NOON.replace(year=1969)]
)
def test_a_time_without_a_zone_between_seconds_or_before_1970_has_no_form(moment):
    with pytest.raises(ValueError):
        replace(CONTENTS, valid_after=moment)


@pytest.mark.parametrize("serial", [-1, 2**64])
def test_a_serial_beyond_64_bits_has_no_form(serial):
    with pytest.raises(ValueError, match="64 unsigned bits"):
        replace(CONTENTS, serial=serial)


def test_times_of_other_zones_are_the_same_moments():
    there = NOON.astimezone(timezone(timedelta(hours=9)))
    assert CONTENTS.to_be_signed == replace(CONTENTS, valid_after=there).to_be_signed


def test_for_ever_is_the_largest_number_and_back():
    blob = signed(replace(CONTENTS, valid_before=FOREVER), SIGNATURE).blob
    assert b"\xff" * 8 in blob
    assert Certificate.from_blob(blob).contents.valid_before == FOREVER


@given(
    st.builds(
        CertificateToSign,
        subject_key=st.sampled_from(KEYS),
        type=st.sampled_from(CertificateType),
        serial=st.integers(0, 2**64 - 1),
        key_id=st.text(max_size=20),
        principals=st.lists(st.text(max_size=10), max_size=5).map(tuple),
        valid_after=st.integers(0, 2**32).map(
            lambda seconds: datetime.fromtimestamp(seconds, UTC)
        ),
        valid_before=st.just(FOREVER),
        critical_options=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4),
        extensions=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=4),
        signature_key=st.just(SK_ED25519),
        nonce=st.binary(max_size=40),
    )
)
def test_what_is_written_is_read_back(contents):
    certificate = signed(contents, SIGNATURE)
    assert certificate == Certificate.from_blob(certificate.blob)
    assert certificate.blob == Certificate.parse(certificate.line).blob


def test_every_prefix_is_malformed():
    for cut in range(len(BLOB)):
        with pytest.raises(Malformed):
            Certificate.from_blob(BLOB[:cut])


@given(st.integers(0, len(BLOB) - 1), st.integers(1, 255))
def test_every_mutation_is_another_certificate_or_malformed(at, change):
    mutated = bytearray(BLOB)
    mutated[at] ^= change
    try:
        certificate = Certificate.from_blob(bytes(mutated))
    except Malformed:
        return
    assert bytes(mutated) == certificate.blob


@given(st.text(max_size=80))
def test_any_text_is_malformed(text):
    with pytest.raises(Malformed):
        Certificate.parse(text)


def changed(old, new):
    return BLOB.replace(old, new, 1)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (BLOB + b"\0", "1 bytes too many"),
        (ED25519.blob, "'ssh-ed25519' is no type of certificate"),
        (
            changed(wire.uint64(7) + wire.uint32(1), wire.uint64(7) + wire.uint32(3)),
            "3 is neither",
        ),
        (changed(wire.string("alice_7"), wire.string(b"alice\xff7")), "not UTF-8"),
        (changed(wire.uint64(int(NOON.timestamp())), wire.uint64(2**63)), "after the year 9999"),
        (
            changed(
                wire.string("permit-pty") + wire.uint32(0),
                wire.string("permit-p") + wire.string(b"xy"),
            ),
            "the value of",
        ),
        (
            changed(
                wire.string(b"") + wire.string(ECDSA_256.blob),
                wire.string(b"r") + wire.string(ECDSA_256.blob),
            ),
            "reserved",
        ),
        (CONTENTS.to_be_signed + wire.string(b""), "the signature is malformed"),
    ],
)
def test_what_is_no_certificate_is_refused_with_the_reason(blob, reason):
    with pytest.raises(Malformed, match=reason):
        Certificate.from_blob(blob)


def test_a_key_is_no_certificate_and_the_type_must_match():
    with pytest.raises(Malformed, match="'ssh-ed25519' is no type of certificate"):
        Certificate.parse(ED25519.line)
    encoded = base64.b64encode(BLOB).decode()
    with pytest.raises(Malformed, match="does not match its data"):
        Certificate.parse(f"ssh-rsa-cert-v01@openssh.com {encoded}")


def test_a_certificate_with_a_weak_key_is_still_read():
    dss = wire.string("ssh-dss") + b"".join(map(wire.mpint, (7, 3, 2, 5)))
    contents = replace(CONTENTS, subject_key=PublicKey("ssh-dss", dss))
    assert dss == Certificate.from_blob(signed(contents, SIGNATURE).blob).contents.subject_key.blob
