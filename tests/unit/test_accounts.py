"""Which names may become accounts (S5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import accounts


@pytest.mark.parametrize("name", ["member", "admin", "_web", "a", "a" * 32, "db-admin_2"])
def test_a_plain_name_can_be_an_account(name):
    assert accounts.refusal(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "Admin", "a" * 33, "-a", "1a", "a b", "a,b", "a\n", "a:0", "../a", "ádmin", "a*", "a\0"],
)
def test_what_useradd_would_not_take_is_refused(name):
    assert "is no account name" in accounts.refusal(name)


@pytest.mark.parametrize(
    "name",
    ["root", "ubuntu", "debian", "centos", "fedora", "cloud-user", "sshd", "docker", "sudo"],
)
def test_an_account_that_hosts_have_of_their_own_is_reserved(name):
    assert "reserved" in accounts.refusal(name)


def test_every_account_of_systemd_is_reserved():
    assert "reserved" in accounts.refusal("systemd-whatever")


@given(st.text(max_size=40))
def test_no_other_text_passes(text):
    passed = accounts.refusal(text) is None
    plain = (text.isascii() and text.replace("-", "").replace("_", "").isalnum()) or set(text) <= {
        "_",
        "-",
    }
    assert not passed or (plain and text == text.lower() and 0 < len(text) <= 32)
