"""What `tatu-manage check` finds out by itself."""

import os

import pytest

from tatu.core.errors import Unavailable
from tatu.manage.check import check_tls
from tests.fakes.tls import make_certificate

NOBODY = 65534


@pytest.fixture
def files(tmp_path):
    make_certificate(tmp_path)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_files_that_belong_together_are_well(files):
    check_tls(*files)


@pytest.mark.parametrize("which", [0, 1])
def test_a_tls_file_that_cannot_be_read_is_named(files, which):
    files[which].unlink()
    with pytest.raises(Unavailable, match=rf"{files[which].name} cannot be read by user id \d+"):
        check_tls(*files)


def test_a_tls_key_that_is_anothers_is_named(files, tmp_path):
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other")
    with pytest.raises(Unavailable, match=r"are no certificate and its key"):
        check_tls(files[0], tmp_path / "other/key.pem")


def test_a_tls_file_that_is_for_others_alone_is_named(files):
    root = os.geteuid() == 0
    files[1].chmod(0)
    if root:  # who may read everything
        os.seteuid(NOBODY)
    try:
        with pytest.raises(Unavailable, match=r"cannot be read by user id \d+: Permission"):
            check_tls(*files)
    finally:
        if root:
            os.seteuid(0)
