"""Host names: who may speak for which (S8)."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import host
from tatu.core.errors import Denied, Malformed
from tatu.core.host import Host

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DB = Host(
    id="i-1",
    authority="blue",
    names=("db", "db.blue.example"),
    addresses=("10.0.0.1",),
    epoch=1,
    admitted_until=NOW,
    created_at=NOW,
)


def test_a_host_is_called_by_its_id_names_and_addresses_each_once():
    assert DB.principals == ("i-1", "db", "db.blue.example", "10.0.0.1")
    assert replace(DB, id="db", addresses=()).principals == ("db", "db.blue.example")


@pytest.mark.parametrize(
    "text", ["db", "0b4f6c1e-6a3d-4b11-9a8e-000000000000", "i-0abc", "a" * 63]
)
def test_a_plain_word_is_a_host_id(text):
    assert text == host.host_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        "a" * 64,
        "a.b",
        "a b",
        "a\n",
        "DB",
        "*",
        "10.0.0.1",
        "2130706433",
        "::1",
        "a,b",
        "dé",
        "a\0",
        "db ",
    ],
)
def test_what_is_no_plain_word_is_no_host_id(text):
    with pytest.raises(Malformed):
        host.host_id(text)


def test_a_name_is_taken_in_lower_case():
    assert host.name("DB.Blue.example") == "db.blue.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "db.",
        ".db",
        "d..b",
        "-db",
        "db-",
        "d_b",
        "d b",
        "db\n",
        "*.example",
        "d*",
        "!db",
        "db,github.com",
        "10.0.0.1",
        "db.1",
        "a" * 64,
        ".".join(["a" * 63] * 4),
        "\u212aelvin",
        "dé",
        "\uff44b",
        "db.²",
    ],
)
def test_what_ssh_or_dns_would_read_otherwise_is_no_name(text):
    with pytest.raises(Malformed):
        host.name(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("10.0.0.1", "10.0.0.1"), ("2001:DB8:0::1", "2001:db8::1"), ("::1", "::1")],
)
def test_an_address_is_taken_in_its_canonical_form(text, shown):
    assert shown == host.address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "db",
        "10.0.0.1/32",
        "010.0.0.1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        " 10.0.0.1",
        "167772161",
    ],
)
def test_what_is_no_address_of_one_host_is_refused(text):
    with pytest.raises(Malformed):
        host.address(text)


def test_a_short_name_gives_the_full_one_too_and_the_reverse():
    expected = ("db", "db.blue.example")

    assert expected == host.names_within(("db",), "blue.example", of="x")
    assert expected == host.names_within(("DB.blue.example", "db"), "blue.example", of="x")
    assert host.names_within(("db",), "", of="x") == ("db",)


@pytest.mark.parametrize(
    "text",
    [
        "github.com",
        "db.red.example",
        "blue.example",
        "a.b.blue.example",
        "dbblue.example",
        "blue.example.com",
    ],
)
def test_a_name_outside_of_the_suffix_is_denied(text):
    with pytest.raises(Denied, match="outside"):
        host.names_within((text,), "blue.example", of="x")


def test_without_a_suffix_no_dotted_name_passes():
    with pytest.raises(Denied, match="no DNS suffix"):
        host.names_within(("github.com",), "", of="x")


@pytest.mark.parametrize(
    "name",
    ["AAAAAAAA-0000-4000-8000-000000000001", "aaaaaaaa000040008000000000000001.blue.example"],
)
def test_a_name_that_reads_as_an_instances_id_is_that_instances_alone(name):
    with pytest.raises(Denied, match="id of an instance"):
        host.names_within((name,), "blue.example", of="bbbbbbbb-0000-4000-8000-000000000002")
    own = name.lower().removesuffix(".blue.example")
    assert own in host.names_within((name,), "blue.example", of=own)


def test_a_full_name_that_grows_too_long_is_refused():
    suffix = ".".join(["a" * 60] * 4)

    with pytest.raises(Malformed):
        host.names_within(("b" * 63,), suffix, of="x")


@given(st.lists(st.text(max_size=20), max_size=4), st.sampled_from(["", "blue.example"]))
def test_every_name_that_passes_is_a_label_inside_of_the_suffix(names, suffix):
    try:
        found = host.names_within(tuple(names), suffix, of="x")
    except (Malformed, Denied):
        return
    for name in found:
        assert host.name(name) == name
        assert "." not in name.removesuffix(f".{suffix}" if suffix else "")
