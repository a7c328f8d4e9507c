"""What OpenStack's notifications mean: vectors of what was captured, and every mutation of them."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import losses
from tatu.core.errors import Malformed
from tatu.core.notices import Notice, NoticeKind
from tatu.drivers.events import notifications

VECTORS = [
    pytest.param(vector, id=vector["name"])
    for path in sorted((Path(__file__).parents[1] / "vectors/notifications").glob("*.json"))
    for vector in json.loads(path.read_text())
]
PAYLOADS = [(found.values[0]["event_type"], found.values[0]["payload"]) for found in VECTORS]


def read(event_type, payload, message="m-1"):
    return notifications.read(event_type, payload, message)


def told(notice):
    """What a notice says beyond the message that told it, without what is empty."""
    return {key: value for key, value in asdict(notice).items() if value and key != "message"}


@pytest.mark.parametrize("vector", VECTORS)
def test_what_openstack_sends_is_read(vector):
    found = read(vector["event_type"], vector["payload"])
    assert vector["notices"] == [told(notice) for notice in found]
    assert all(notice.message == "m-1" for notice in found)


@pytest.mark.parametrize("vector", [found for found in VECTORS if found.values[0]["notices"]])
def test_a_message_without_an_id_cannot_be_read(vector):
    with pytest.raises(Malformed):
        read(vector["event_type"], vector["payload"], None)


@pytest.mark.parametrize(
    "event_type", ["identity.endpoint.created", "compute.instance.update", "volume.create.end", ""]
)
def test_what_does_not_concern_us_is_not_looked_at(event_type):
    assert read(event_type, None) == ()


@pytest.mark.parametrize("event_type", [None, 5, ["identity.user.deleted"]])
def test_a_notification_of_no_type_cannot_be_read(event_type):
    with pytest.raises(Malformed):
        read(event_type, {})


@pytest.mark.parametrize("bad", [None, "", 7, "x" * 256, "a\nb", "\ud800", ["id"]])
def test_what_is_no_id_is_never_taken_for_one(bad):
    with pytest.raises(Malformed):
        read("identity.user.deleted", {"resource_info": bad})


@pytest.mark.parametrize(
    "parts",
    [
        {"user": "u"},
        {"project": "p"},
        {"user": "u", "group": "g", "project": "p"},
        {"user": "u", "project": "p", "domain": "d"},
        {"user": "u", "project": "p", "inherited_to_projects": "no"},
    ],
)
def test_an_assignment_that_does_not_say_whose_or_where_cannot_be_read(parts):
    with pytest.raises(Malformed):
        read(
            "identity.role_assignment.deleted",
            {"role": "r", "inherited_to_projects": False, **parts},
        )


@pytest.mark.parametrize("odd", [None, "", "a\nb", "x" * 256, 7])
@pytest.mark.parametrize("event_type", ["port.update.end", "port.delete.end"])
def test_a_port_that_a_user_gave_an_odd_instance_is_an_instances_no_more(event_type, odd):
    port = {
        "device_owner": "compute:x",
        "device_id": odd,
        "project_id": "p",
        "fixed_ips": [{"ip_address": "10.0.0.5"}],
    }
    (found,) = read(event_type, {"port": port})
    assert told(found) == {"kind": NoticeKind.ADDRESS_CHANGED, "id": "10.0.0.5", "project": "p"}


def test_a_floating_address_at_a_port_of_an_odd_instance_is_read():
    floating = {
        "floating_ip_address": "203.0.113.7",
        "project_id": "p",
        "port_details": {"device_owner": "compute:x", "device_id": ""},
    }
    found = read("floatingip.update.end", {"floatingip": floating})
    assert [notice.kind for notice in found] == [NoticeKind.ADDRESS_CHANGED]


# --- every mutation: notices or `Malformed`, never another exception

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def paths(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from paths(inner, (*path, number))


def replaced(value, path, junk, *, gone):
    """A copy with something else, or nothing, in one place."""
    if not path:
        return junk
    copy = value.copy()
    if gone and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = replaced(value[path[0]], path[1:], junk, gone=gone)
    return copy


@given(st.data())
def test_every_mutation_is_read_or_malformed(data):
    event_type, payload = data.draw(st.sampled_from(PAYLOADS))
    path = data.draw(st.sampled_from(list(paths(payload))))
    mutated = replaced(payload, path, data.draw(JUNK), gone=data.draw(st.booleans()))
    with contextlib.suppress(Malformed):
        for notice in read(event_type, mutated, data.draw(st.just("m") | JUNK)):
            assert "" not in (notice.id, notice.message)
            assert all(json.loads(topic) for topic in notice.topics)


@given(JUNK, JUNK, JUNK)
def test_any_message_at_all_is_read_or_malformed(event_type, payload, message):
    for kind in (event_type, *(name for name, _ in PAYLOADS[::5])):
        with contextlib.suppress(Malformed):
            read(kind, payload, message)


# --- what each takes away


@pytest.mark.parametrize(
    ("notice", "topics"),
    [
        ({"kind": NoticeKind.PROJECT_CREATED}, []),
        ({"kind": NoticeKind.PROJECT_DELETED}, [losses.project("x")]),
        ({"kind": NoticeKind.USER_CHANGED}, [losses.user("x")]),
        ({"kind": NoticeKind.ROLE_CHANGED}, [losses.role("x")]),
        ({"kind": NoticeKind.ORIGIN_DELETED}, [losses.origin("x")]),
        ({"kind": NoticeKind.GROUP_CHANGED, "user": "u"}, [losses.user("u")]),
        ({"kind": NoticeKind.GROUP_CHANGED}, [losses.everyone()]),
        ({"kind": NoticeKind.DOMAIN_DELETED}, [losses.everyone()]),
        ({"kind": NoticeKind.ADDRESS_CHANGED}, []),
    ],
)
def test_a_notice_names_what_may_have_ended(notice, topics):
    assert topics == list(Notice(id="x", message="m", **notice).topics)


@pytest.mark.parametrize(
    ("of", "topics"),
    [
        ({"user": "u", "project": "p"}, [losses.user_in_project("u", "p")]),
        ({"group": "g", "project": "p"}, [losses.project("p")]),
        ({"user": "u", "domain": "d"}, []),
        ({"user": "u", "domain": "d", "inherited": True}, [losses.user("u")]),
        ({"user": "u", "project": "p", "inherited": True}, [losses.user("u")]),
        ({"group": "g", "domain": "d", "inherited": True}, [losses.everyone()]),
    ],
)
def test_a_removed_assignment_counts_where_it_held(of, topics):
    notice = Notice(kind=NoticeKind.ASSIGNMENT_REMOVED, id="r", message="m", **of)
    assert topics == list(notice.topics)


def instance_update(**changed):
    """What Nova 34 sends when something of an instance was saved."""
    states = {
        "old_state": "active",
        "state": "active",
        "old_task_state": None,
        "new_task_state": None,
    }
    data = {
        "uuid": "i-1",
        "tenant_id": "blue",
        "host_name": "db",
        "display_name": "db",
        "old_display_name": None,
        "state_update": {"nova_object.data": {**states, **changed.pop("states", {})}},
    }
    return {"nova_object.data": {**data, **changed}}


@pytest.mark.parametrize("display", [{}, {"display_name": "x", "old_display_name": "y"}], ids=str)
def test_an_instance_that_was_saved_may_have_another_hostname(display):
    payload = instance_update(host_name="store", **display)
    (found,) = read("instance.update", payload)
    assert found.kind is NoticeKind.INSTANCE_CHANGED
    assert (found.id, found.project, found.name) == ("i-1", "blue", "store")


@pytest.mark.parametrize(
    "changed",
    [
        {"host_name": None},
        {"states": {"old_state": "building"}},
        {"states": {"new_task_state": "rebooting"}},
    ],
    ids=str,
)
def test_the_states_that_an_instance_goes_through_concern_nobody(changed):
    assert read("instance.update", instance_update(**changed)) == ()
