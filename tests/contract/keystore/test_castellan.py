"""The key store behind castellan: what it configures, what it survives, what it never shows."""

import base64
import dataclasses
import json
import os
import socket
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from castellan.common.objects.opaque_data import OpaqueData
from oslo_context.context import RequestContext

from tatu import bootstrap, config
from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import Malformed, Unavailable
from tatu.drivers import loading
from tatu.drivers.keystore.castellan import Castellan
from tests.fakes.key_manager import FakeKeyManager
from tests.fakes.secrets import FakeSecrets, SlowSecrets
from tests.fakes.threads import together

FAKE = "backend = tests.fakes.key_manager.FakeKeyManager\n"
BARBICAN = """\
auth_type = keystone_password
auth_url = http://127.0.0.1:1/v3
username = tatu
password = hunter2
user_domain_id = default
project_name = service
project_domain_id = default
"""


def castellan(manager, secrets):
    return Castellan(
        manager=manager,
        context=RequestContext(overwrite=False),
        backend="fake",
        secrets=secrets,
        randomness=os.urandom,
    )


@pytest.fixture
def manager():
    return FakeKeyManager()


@pytest.fixture
def secrets():
    return FakeSecrets()


@pytest.fixture
def store(manager, secrets):
    return castellan(manager, secrets)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Read and check a configuration with this key store and these sections of castellan's."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def loaded(text, own=""):
        path = tmp_path / "tatu.conf"
        path.write_text(
            "[DEFAULT]\napi_endpoint = https://tatu.example\n"
            f"[keystore]\ndriver = castellan\n[keystore_castellan]\n{own}\n[key_manager]\n{text}"
        )
        found = config.load([f"--config-file={path}", f"--config-dir={tmp_path}/none.d"])
        bootstrap.check_config(found)
        return found

    (tmp_path / "none.d").mkdir()
    return loaded


def build(found):
    ports = {"conf": found.conf, "secrets": FakeSecrets(), "randomness": os.urandom}
    return loading.build(loading.find("keystore", "castellan"), found.conf, ports)


def test_another_process_fetches_what_one_has_made(manager, secrets, store):
    reference, public_key = store.create(KeyAlgorithm.ECDSA_P256)
    secret = store.secret("enrolment")
    other = castellan(manager, secrets)
    assert public_key == other.signer(reference).public_key
    assert secret == other.secret("enrolment")


def test_the_ledger_knows_ids_alone(manager, secrets, store):
    reference, _ = store.create(KeyAlgorithm.ED25519)
    store.secret("enrolment")
    (kept,) = secrets.kept.values()
    assert set(manager.objects) == {reference, kept.decode()}


def test_signing_goes_on_with_fetched_keys_while_the_key_manager_is_out(manager, secrets, store):
    reference, public_key = store.create(KeyAlgorithm.ED25519)
    secret = store.secret("enrolment")
    manager.out = True
    assert public_key == store.signer(reference).public_key
    assert secret == store.secret("enrolment")
    with pytest.raises(Unavailable, match=r"key manager \(fake\) .*connection refused"):
        castellan(manager, secrets).signer(reference)
    with pytest.raises(Unavailable):
        store.create(KeyAlgorithm.ED25519)
    manager.out = False
    store.create(KeyAlgorithm.ED25519)


def test_while_the_key_manager_hangs_one_caller_waits_and_others_are_told_at_once(manager, store):
    reference, _ = store.create(KeyAlgorithm.ED25519)
    ticks = iter(range(0, 1000, 5))
    other = dataclasses.replace(castellan(manager, FakeSecrets()), ticks=lambda: next(ticks))
    waiting, answered = threading.Event(), threading.Event()

    def hang():
        waiting.set()
        assert answered.wait(60)

    def refused():
        with pytest.raises(Unavailable) as raised:
            other.signer(reference)
        return str(raised.value)

    manager.out = True
    assert "connection refused" in refused()  # and that took long
    manager.hanging = hang
    first = threading.Thread(target=refused)
    first.start()
    assert waiting.wait(60)
    assert "another request is waiting" in refused()
    answered.set()
    first.join()
    manager.out = False
    other.signer(reference)
    manager.hanging = None


def test_a_deleted_key_is_gone_from_the_key_manager(manager, store):
    reference, _ = store.create(KeyAlgorithm.ED25519)
    store.delete(reference)
    assert manager.objects == {}


def test_processes_that_make_one_secret_at_once_agree_and_leave_one_object(manager):
    secrets = SlowSecrets()
    stores = [castellan(manager, secrets) for _ in range(2)]
    found = together(2, lambda at: stores[at].secret("x"))
    assert len(found) == 2
    assert len(set(found)) == 1
    assert list(manager.objects) == [secrets.kept["castellan:secret:x"].decode()]


def test_a_secret_whose_id_may_be_in_the_ledger_stays_when_the_ledger_fails(manager, store):
    store.secrets.put = lambda name, wrapped: (_ for _ in ()).throw(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        store.secret("enrolment")
    assert len(manager.objects) == 1


def test_a_secret_that_the_key_manager_lost_is_not_made_anew(manager, secrets, store):
    store.secret("enrolment")
    manager.objects.clear()
    with pytest.raises(Unavailable, match="lost the secret 'enrolment'"):
        castellan(manager, secrets).secret("enrolment")
    assert manager.objects == {}


def test_what_is_not_given_back_was_not_stored(manager, store):
    """Castellan's Vault backend takes a 404 of a missing mount for a success."""
    manager.store = lambda context, found: "5f3b5f5e-3d7c-4b5a-8d6e-0e6a6d2f9c11"
    with pytest.raises(Unavailable, match="does not give it back"):
        store.create(KeyAlgorithm.ED25519)


def test_another_secret_than_was_given_is_not_used(manager, store):
    other = OpaqueData(b"another")
    manager.get = lambda context, reference: other
    with pytest.raises(Unavailable, match="does not give it back"):
        store.create(KeyAlgorithm.ED25519)


@pytest.mark.parametrize("contents", [b"", b"no key", None])
def test_what_is_no_key_is_said_so(manager, store, contents):
    reference, _ = store.create(KeyAlgorithm.ED25519)
    manager.objects[reference] = OpaqueData(contents)
    with pytest.raises(Unavailable, match=r"damaged|without contents"):
        castellan(manager, store.secrets).signer(reference)


def test_an_odd_error_of_a_backend_is_unavailable(manager, store):
    def odd(context, reference):
        raise KeyError("data")

    manager.get = odd
    with pytest.raises(Unavailable, match="data"):
        store.signer("5f3b5f5e-3d7c-4b5a-8d6e-0e6a6d2f9c11")


def test_no_error_shows_a_secret_that_the_key_manager_quotes(manager, store):
    secret = os.urandom(32)
    store = dataclasses.replace(store, randomness=lambda size: secret)
    manager.quoting = True
    with pytest.raises(Unavailable, match="does not store a secret") as raised:
        store.secret("enrolment")
    shown = "".join(traceback.format_exception(raised.value)) + repr(store)
    assert base64.b64encode(secret).decode() not in shown


def test_castellan_is_configured_by_its_own_sections(load):
    found = load(BARBICAN + "[barbican]\nbarbican_endpoint = http://127.0.0.1:1\n")
    assert build(found).backend == "barbican"
    found = load("backend = vault\n[vault]\nvault_url = https://vault.example\n")
    assert found.conf.vault.timeout == 3
    assert build(found).backend == "vault"


def test_the_timeout_is_that_of_the_backends_section_or_ours(load):
    assert load(BARBICAN, own="timeout = 7").conf.barbican.timeout == 7
    assert (
        load(BARBICAN + "[barbican]\ntimeout = 3\n", own="timeout = 7").conf.barbican.timeout == 3
    )
    assert load("backend = vault\n", own="timeout = 7").conf.vault.timeout == 7


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BARBICAN + "pasword = x\n", "no option 'pasword'"),
        (BARBICAN + "[barbican]\nbarbican_endpont = http://x\n", "no option 'barbican_endpont'"),
        (BARBICAN + "[vault]\nkv_version = 1\n", r"no part that is in use reads .*\[vault\]"),
        ("backend = vault\n[barbican]\nbarbican_endpoint = http://x\n", "no part that is in use"),
        ("backend = paper\n", "backend = paper"),
        ("backend = paper.Made\n", "backend = paper"),
        ("", "auth_type"),
        ("auth_type = keystone_token\ntoken = x\n", "a token would end"),
        (BARBICAN.replace("password = hunter2", ""), "password"),
        (BARBICAN.replace("auth_url", "#auth_url"), "auth_url"),
        (BARBICAN + "[barbican]\ntimeout = long\n", "timeout"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(load, text, why):
    with pytest.raises(Malformed, match=why) as raised:
        build(load(text))
    assert "hunter2" not in str(raised.value)


def test_nothing_shows_the_password(load):
    store = build(load(BARBICAN))
    assert "hunter2" not in repr(store) + repr(store.context) + str(store.context.to_dict())


def test_a_backend_by_its_class_needs_nothing_of_keystone(load):
    store = build(load(FAKE))
    reference, public_key = store.create(KeyAlgorithm.ED25519)
    assert public_key == store.signer(reference).public_key


class Keystone(BaseHTTPRequestHandler):
    """Gives everybody a token."""

    def do_GET(self):
        host = self.headers["Host"]
        links = [{"rel": "self", "href": f"http://{host}/v3/"}]
        self._answer(200, {"version": {"id": "v3.14", "status": "stable", "links": links}})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(
            201,
            {
                "token": {
                    "methods": ["password"],
                    "expires_at": "2999-01-01T00:00:00.000000Z",
                    "issued_at": "2026-01-01T00:00:00.000000Z",
                    "user": {"id": "t", "name": "tatu", "domain": {"id": "default", "name": "d"}},
                }
            },
        )

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Subject-Token", "a token")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def keystone():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keystone)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent():
    """The port of a service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("hanging", ["keystone", "barbican"])
def test_a_service_that_hangs_holds_nobody_for_long(load, keystone, silent, hanging):
    auth = silent if hanging == "keystone" else keystone
    text = BARBICAN.replace("127.0.0.1:1", f"127.0.0.1:{auth}")
    text += f"[barbican]\nbarbican_endpoint = http://127.0.0.1:{silent}\n"
    store = build(load(text, own="timeout = 1"))
    waited = []

    def ask():
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"key manager \(barbican\)"):
            store.signer("5f3b5f5e-3d7c-4b5a-8d6e-0e6a6d2f9c11")
        waited.append(time.monotonic() - start)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    for thread in threads:
        thread.join(until - time.monotonic())
    assert len(waited) == len(threads)
    assert max(waited) < 5, waited  # it hangs for ever, and eight in turn for 16 s
