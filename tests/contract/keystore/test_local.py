"""The embedded key store: envelopes, key-encryption keys and where they come from."""

import base64
import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import serialization
from oslo_config import cfg

from tatu.core.authority import KeyAlgorithm
from tatu.core.errors import Conflict, Malformed, NotFound, Unavailable
from tatu.drivers import loading
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.envelope import Envelope
from tatu.drivers.keystore.kek import Keks
from tatu.drivers.keystore.local import Local
from tatu.drivers.keystore.signers import Signers, encode
from tests.fakes.secrets import FakeSecrets, SlowSecrets
from tests.fakes.threads import together


def line():
    return kek.new_line(os.urandom)


def local(secrets, *lines):
    return Local(secrets=secrets, keks=Keks.parse("\n".join(lines), "here"), randomness=os.urandom)


def test_another_process_opens_what_one_has_made():
    secrets, own = FakeSecrets(), line()
    one = local(secrets, own)
    reference, public_key = one.create(KeyAlgorithm.ECDSA_P256)
    secret = one.secret("enrolment")
    other = local(secrets, own)
    assert public_key == other.signer(reference).public_key
    assert secret == other.secret("enrolment")


def test_nothing_that_is_stored_can_be_read_without_the_kek():
    secrets = FakeSecrets()
    one = local(secrets, line())
    reference, _ = one.create(KeyAlgorithm.ED25519)
    seed = one.signer(reference)._private_key.private_bytes_raw()
    secret = one.secret("enrolment")
    stored = b"".join(secrets.kept.values())
    for hidden in (seed, secret):
        assert hidden not in stored
        assert base64.b64encode(hidden) not in stored
    stranger = local(secrets, line())
    for ask in (lambda: stranger.signer(reference), lambda: stranger.secret("enrolment")):
        with pytest.raises(Unavailable, match="is not at hand"):
            ask()


def test_every_changed_byte_of_an_envelope_is_noticed():
    keks = Keks.parse(line(), "here")
    stored = Envelope.seal(keks.current, "name", b"secret", os.urandom).encoded
    for at in range(len(stored)):
        wrong = bytearray(stored)
        wrong[at] ^= 1
        with pytest.raises(Unavailable):
            Envelope.read(bytes(wrong), "name").open(keks, "name")
    for length in range(len(stored)):
        with pytest.raises(Unavailable):
            Envelope.read(stored[:length], "name").open(keks, "name")
    assert Envelope.read(stored, "name").open(keks, "name") == b"secret"


def test_an_envelope_under_another_name_is_refused():
    secrets, own = FakeSecrets(), line()
    one = local(secrets, own)
    (first, _), (second, _) = (one.create(KeyAlgorithm.ED25519) for _ in range(2))
    kept = secrets.kept
    kept[f"keystore:key:{first}"] = kept[f"keystore:key:{second}"]
    with pytest.raises(Unavailable, match="another's"):
        local(secrets, own).signer(first)


def test_rewrapping_leaves_the_older_kek_without_use():
    secrets, old, new = FakeSecrets(), line(), line()
    reference, public_key = local(secrets, old).create(KeyAlgorithm.ED25519)
    both = local(secrets, new, old)
    secret = both.secret("enrolment")  # made under the new one
    assert not both.probe(f"keystore:key:{reference}")
    assert both.rewrap() == 1
    assert both.rewrap() == 0
    assert all(both.probe(name) for name in both.names())
    only = local(secrets, new)
    assert public_key == only.signer(reference).public_key
    assert secret == only.secret("enrolment")
    with pytest.raises(Unavailable):
        local(secrets, old).signer(reference)


def test_rewrapping_touches_nothing_that_is_not_the_key_stores():
    secrets, old, new = FakeSecrets(), line(), line()
    secrets.put("reference:audit-key", b"plain")
    local(secrets, old).create(KeyAlgorithm.ED25519)
    local(secrets, new, old).rewrap()
    assert secrets.get("reference:audit-key") == b"plain"


def test_processes_that_make_one_secret_at_once_agree_on_it():
    secrets, own = SlowSecrets(), line()
    stores = [local(secrets, own) for _ in range(2)]
    found = together(2, lambda at: stores[at].secret("x"))
    assert len(found) == 2
    assert len(set(found)) == 1


def test_a_secret_that_is_rewrapped_by_two_at_once_is_not_lost():
    class Racing(FakeSecrets):
        raced = False

        def replace(self, name, wrapped, *, old):
            if not self.raced:
                self.raced = True
                local(self, new, old_line).rewrap()
                raise Conflict(name)
            super().replace(name, wrapped, old=old)

    secrets, old_line, new = Racing(), line(), line()
    reference, public_key = local(secrets, old_line).create(KeyAlgorithm.ED25519)
    local(secrets, new, old_line).rewrap()
    assert public_key == local(secrets, new).signer(reference).public_key


def test_nothing_shows_a_secret():
    own = line()
    store = local(FakeSecrets(), own)
    key = base64.b64decode(own)
    for shown in (repr(store), repr(store.keks), repr(store.keks.current), str(store)):
        assert own not in shown
        assert repr(key) not in shown
    for write in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            write(store.keks.current)


def test_no_error_shows_a_malformed_kek():
    for text in ("dG9vIHNob3J0", "!not-it!", "A" * 43, f"{line()}\nsecret-rest"):
        with pytest.raises(Unavailable) as raised:
            Keks.parse(text, "the place")
        assert "the place" in str(raised.value)
        for word in text.split():
            assert word not in str(raised.value)


def test_no_kek_at_all_and_one_twice_are_refused():
    own = line()
    with pytest.raises(Unavailable, match="empty"):
        Keks.parse("\n", "here")
    with pytest.raises(Unavailable, match="twice"):
        Keks.parse(f"{own}\n{own}", "here")


def test_a_kek_file_must_be_ours_alone(tmp_path):
    path = tmp_path / "kek"
    path.write_text(line())
    path.chmod(0o600)
    assert len(kek.from_file(path).keys) == 1
    for mode in (0o640, 0o604, 0o660, 0o644):
        path.chmod(mode)
        with pytest.raises(Unavailable, match="chmod 600"):
            kek.from_file(path)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Unavailable, match="cannot be opened"):
        kek.from_file(tmp_path / "link")
    with pytest.raises(Unavailable, match="cannot be opened"):
        kek.from_file(tmp_path / "absent")
    with pytest.raises(Unavailable, match="plain file"):
        kek.from_file(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(Unavailable, match="plain file"):
        kek.from_file(tmp_path / "pipe")
    path.write_text("A" * 5000)
    with pytest.raises(Unavailable, match="base64"):
        kek.from_file(path)


def test_somebody_elses_kek_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "kek"
    path.write_text(line())
    path.chmod(0o600)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(Unavailable, match="somebody else"):
        kek.from_file(path)


def test_a_kek_from_the_environment_does_not_stay_there(monkeypatch):
    monkeypatch.setenv("TATU_KEK", line())
    assert len(kek.from_environment("TATU_KEK").keys) == 1
    assert "TATU_KEK" not in os.environ
    with pytest.raises(Unavailable, match="TATU_KEK"):
        kek.from_environment("TATU_KEK")


def test_a_kek_from_a_systemd_credential(monkeypatch, tmp_path):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(Unavailable, match="systemd"):
        kek.from_credential("kek")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(Unavailable, match="cannot be read"):
        kek.from_credential("kek")
    (tmp_path / "kek").write_text(line())
    assert len(kek.from_credential("kek").keys) == 1
    for name in ("../kek", "..", "/etc/passwd"):
        with pytest.raises(Unavailable, match="no name"):
            kek.from_credential(name)


def test_exactly_one_source_of_the_kek_is_configured(tmp_path, monkeypatch):
    driver = loading.find("keystore", "local")

    def build(**values):
        conf = cfg.ConfigOpts()
        conf.register_opts(driver.options, group=driver.section)
        conf([], use_env=False, default_config_files=[], default_config_dirs=[])
        for name, value in values.items():
            conf.set_override(name, value, group=driver.section)
        ports = {"secrets": FakeSecrets(), "randomness": os.urandom, "clock": None}
        return loading.build(driver, conf, ports)

    with pytest.raises(Malformed, match="one of"):
        build()
    with pytest.raises(Malformed, match="one of"):
        build(kek_file="/x", kek_env="Y")
    monkeypatch.setenv("TATU_KEK", line())
    build(kek_env="TATU_KEK").check()


def test_a_stored_private_key_is_pkcs8_inside_of_its_envelope():
    secrets, own = FakeSecrets(), line()
    store = local(secrets, own)
    reference, public_key = store.create(KeyAlgorithm.ED25519)
    name = f"keystore:key:{reference}"
    der = Envelope.read(secrets.get(name), name).open(store.keks, name)
    opened = serialization.load_der_private_key(der, password=None)
    raw = opened.public_key().public_bytes_raw()
    assert public_key.blob.endswith(raw)
    assert b"BEGIN" not in der


def test_what_a_lost_kek_wraps_is_abandoned_and_nothing_else():
    secrets, lost, own = FakeSecrets(), line(), line()
    gone, _ = local(secrets, lost).create(KeyAlgorithm.ED25519)
    before = local(secrets, lost).secret("enrolment")
    secrets.put("reference:somebody-elses", b"not an envelope")
    store = local(secrets, own)
    kept, _ = store.create(KeyAlgorithm.ED25519)
    assert len(store.abandon()) == 2
    with pytest.raises(NotFound):
        store.signer(gone)
    store.signer(kept)
    assert store.secret("enrolment") != before
    assert secrets.get("reference:somebody-elses") == b"not an envelope"
    assert store.abandon() == ()


def test_a_burst_reads_a_key_once_and_waits_together_for_none_that_failed():
    secrets = FakeSecrets()
    one = local(secrets, line())
    reference, _ = one.create(KeyAlgorithm.ED25519)
    der = encode(one.signer(reference)._private_key)
    reads, reading, given = [], threading.Event(), threading.Event()

    def read(name):
        reads.append(name)
        reading.set()
        assert given.wait(10)
        return der

    def fail(name):
        raise Unavailable("out")

    signers, together = Signers(), threading.Barrier(9)

    def get():
        together.wait(10)
        return signers.get(reference, read)

    with ThreadPoolExecutor(8) as pool:
        burst = [pool.submit(get) for _ in range(8)]
        together.wait(10)
        assert reading.wait(10)
        given.set()
        assert (len({id(each.result()) for each in burst}), len(reads)) == (1, 1)
    signers.forget(reference)
    with pytest.raises(Unavailable):
        signers.get(reference, fail)
    reading.clear()
    given.clear()
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(signers.get, reference, read)
        assert reading.wait(10)
        with pytest.raises(Unavailable, match="another request is waiting"):
            signers.get(reference, read)
        given.set()
        assert trying.result(10) is signers.get(reference, read)
