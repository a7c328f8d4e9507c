"""`tatu-manage check`: what it warns of."""

from types import SimpleNamespace

import pytest

from tatu.core.errors import Unavailable
from tatu.manage import check

CONFIG = SimpleNamespace(warnings=(), api_endpoint="https://tatu.example")


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
