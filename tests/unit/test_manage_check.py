"""`tatu-manage check`: what it warns of, and what it finds out by itself."""

import os
from types import SimpleNamespace

import pytest

from tatu.core.errors import Unavailable
from tatu.manage import check
from tests.fakes.tls import make_certificate

NOBODY = 65534
CONFIG = SimpleNamespace(
    warnings=(), api_endpoint="https://tatu.example", api=SimpleNamespace(tls=None)
)


def warnings(out_of_sight):
    return list(check._warnings(SimpleNamespace(out_of_sight=out_of_sight), CONFIG))


@pytest.mark.parametrize("domains", [(), ("Customers", "it's new")])
def test_each_domain_in_which_nobody_can_enrol_is_named_with_what_mends_it(domains):
    told = warnings(lambda: domains)
    assert len(told) == len(domains)
    for domain, line in zip(domains, told, strict=True):
        assert repr(domain) in line
        assert "tatu-manage openstack register" in line


def test_a_cloud_that_does_not_answer_is_the_check_of_the_identities_to_tell():
    def out():
        raise Unavailable("Keystone does not answer")

    assert warnings(out) == []


@pytest.fixture
def files(tmp_path):
    make_certificate(tmp_path)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_files_that_belong_together_are_well(files):
    check.check_tls(*files)


@pytest.mark.parametrize("which", [0, 1])
def test_a_tls_file_that_cannot_be_read_is_named(files, which):
    files[which].unlink()
    with pytest.raises(Unavailable, match=rf"{files[which].name} cannot be read by user id \d+"):
        check.check_tls(*files)


def test_a_tls_key_that_is_anothers_is_named(files, tmp_path):
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other")
    with pytest.raises(Unavailable, match=r"are no certificate and its key"):
        check.check_tls(files[0], tmp_path / "other/key.pem")


def test_a_tls_file_that_is_for_others_alone_is_named(files):
    root = os.geteuid() == 0
    files[1].chmod(0)
    if root:  # who may read everything
        os.seteuid(NOBODY)
    try:
        with pytest.raises(Unavailable, match=r"cannot be read by user id \d+: Permission"):
            check.check_tls(*files)
    finally:
        if root:
            os.seteuid(0)
