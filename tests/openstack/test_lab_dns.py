"""The lab's tier of names: what Designate is told, BIND answers."""

import time

import dns.message
import dns.query
import pytest
from openstack.exceptions import NotSupported

pytestmark = pytest.mark.matrix

WAIT = 60
"""Seconds: of a change BIND hears within two, or when it next asks by itself."""


def answer(lab, name, kind):
    asked = dns.message.make_query(name, kind)
    found = dns.query.udp(asked, "127.0.0.1", port=lab.ports["bind"], timeout=5)
    return [str(item) for each in found.answer for item in each]


def eventually(expected, ask):
    until = time.monotonic() + WAIT
    while (found := ask()) != expected:
        assert time.monotonic() < until, found
        time.sleep(0.1)


def test_a_zone_and_its_records_are_answered_for(dns_lab):
    names = dns_lab.cloud().dns
    zone = names.create_zone(name="blue.example.", email="hostmaster@example.com")
    try:
        for name, kind, data in (
            ("gate.blue.example.", "A", "192.0.2.1"),
            ("_ssh._tcp.db.blue.example.", "SRV", "10 50 2222 gate.blue.example."),
        ):
            made = names.create_recordset(zone, name=name, type=kind, records=[data])
            eventually([data], lambda name=name, kind=kind: answer(dns_lab, name, kind))
        names.delete_recordset(made, zone)
        eventually([], lambda: answer(dns_lab, made.name, "SRV"))
    finally:
        names.delete_zone(zone)


def test_a_stopped_api_does_not_answer(dns_lab):
    dns_lab.stop("designate-api")
    with pytest.raises(NotSupported):  # so the SDK calls what is not there
        list(dns_lab.cloud().dns.zones())
    dns_lab.start_again("designate-api")
    assert list(dns_lab.cloud().dns.zones()) == []
