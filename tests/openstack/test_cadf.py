"""Keystone with `notification_format = cadf`, its default: every loss ends in the same revocations."""

import json
import re
import time

import amqp
import pytest

from tests.openstack.deployment import deployed
from tests.openstack.losses import LOSSES, PATIENCE, keep_keys_at_home, opened, start

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def identity_lab(identity_lab):
    """The lab, whose Keystone tells in CADF until these tests end."""
    file = identity_lab.folder / "keystone/keystone.conf"
    before = file.read_text()
    told, changes = re.subn(r"(?m)^(notification_format =) basic$", r"\1 cadf", before)
    assert changes == 1

    def with_text(text):
        identity_lab.stop("keystone")
        file.write_text(text)
        identity_lab.start_again("keystone")

    with_text(told)
    yield identity_lab
    with_text(before)


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    trusts = "[identity_keystone]\nallow_trust_tokens = true\n"
    with deployed(identity_lab, tmp_path_factory.mktemp("cadf"), trusts) as found:
        keep_keys_at_home(found)
        start(found)
        yield found


@pytest.fixture(scope="module")
def world(identity_lab, tatu):
    with opened(identity_lab, tatu) as found:
        yield found


def told(lab):
    """Return what Keystone told the topic of everybody, which nobody reads here, since this was asked last."""
    found = []
    with amqp.Connection(f"127.0.0.1:{lab.ports['rabbitmq']}") as connection:
        channel = connection.channel()
        while message := channel.basic_get("notifications.info", no_ack=True):
            found.append(json.loads(json.loads(message.body)["oslo.message"]))
    return found


def test_each_loss_that_keystone_tells_in_cadf_is_understood(world, identity_lab):
    told(identity_lab)
    cases = [loss(world) for loss in LOSSES]
    for _, _, lose in cases:
        lose()
    doomed = [each for found, _, _ in cases for each in found]
    began = time.monotonic()
    while not all(map(world.revoked, doomed)):
        left = [
            case.__name__
            for case, (found, _, _) in zip(LOSSES, cases, strict=True)
            if not all(map(world.revoked, found))
        ]
        assert time.monotonic() - began < 3 * PATIENCE, left
        time.sleep(0.1)
    assert not any(world.revoked(each) for _, spared, _ in cases for each in spared)
    forms = {"typeURI" in message["payload"] for message in told(identity_lab)}
    assert forms == {True}
