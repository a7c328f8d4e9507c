"""`tatu-manage authority destroy-keys`, on SQLite, with both key stores."""

import io
import json

import pytest
from castellan import key_manager

from tatu.bootstrap import build, open_ledger
from tatu.config import load
from tatu.core.audit import SYSTEM
from tatu.core.errors import NotFound
from tatu.manage import opening
from tatu.manage.main import main
from tatu.service.audit import event
from tests.fakes.key_manager import FakeKeyManager

CONF = """\
[DEFAULT]
api_endpoint = http://127.0.0.1:8322
[database]
connection = sqlite:///{folder}/tatu.db
[state]
directory = {folder}/state
"""
LOCAL = "[keystore_local]\nkek_file = {folder}/kek\n"
CASTELLAN = """\
[keystore]
driver = castellan
[key_manager]
backend = tests.fakes.key_manager.FakeKeyManager
"""


class Operator:
    """A deployment with the authorities `blue`, which is retired, and `red`, which is not."""

    def __init__(self, folder, store, capsys):
        self.config = folder / "tatu.conf"
        self.config.write_text((CONF + store).format(folder=folder))
        self._capsys = capsys
        if store is LOCAL:
            self.manage("keystore", "new-key", str(folder / "kek"))
        self.manage("db", "sync")
        with self.application() as application:
            for project in ("blue", "red"):
                by = opening.operator(application, project)
                application.authorities.create(by, project, project, request_id="")
            retired = event(
                "authority.retired",
                by=SYSTEM,
                at=application.clock(),
                subject="blue",
                authority="blue",
            )
            application.ledger.authorities.retire("blue", retired)

    def manage(self, *words, code=0):
        self._capsys.readouterr()
        assert code == main(["--config-file", str(self.config), *words])
        printed = self._capsys.readouterr()
        return printed.out + printed.err

    def application(self):
        return _Opened(load(["--config-file", str(self.config)]))

    def kept(self, authority):
        """Return how many of an authority's keys the key store has."""
        with self.application() as application:
            found = application.authorities.show(authority)
            return sum(_is_kept(application.keystore, key) for key in found.keys)

    def destroyed(self):
        """Return the audit events of it."""
        lines = self.manage("audit", "export", "-").splitlines()
        events = [json.loads(line)["body"] for line in lines]
        return [found for found in events if found["action"] == "authority.keys-destroyed"]


class _Opened:
    def __init__(self, config):
        self._config = config

    def __enter__(self):
        self._ledger = open_ledger(self._config)
        return build(self._config, self._ledger)

    def __exit__(self, *_):
        self._ledger.close()


def _is_kept(keystore, key):
    try:
        keystore.signer(key.reference)
    except NotFound:
        return False
    return True


@pytest.fixture(params=[LOCAL, CASTELLAN], ids=["local", "castellan"])
def operator(request, tmp_path, capsys, monkeypatch):
    shared = FakeKeyManager()  # what a key manager keeps, it keeps for all processes
    made = key_manager.API
    monkeypatch.setattr(key_manager, "API", lambda conf: made(conf) and shared)
    return Operator(tmp_path, request.param, capsys)


def test_the_keys_of_a_retired_authority_are_destroyed_and_no_others(operator):
    assert operator.kept("blue") == 3
    assert "destroyed 3 keys" in operator.manage("authority", "destroy-keys", "--yes", "blue")
    assert (operator.kept("blue"), operator.kept("red")) == (0, 3)
    (found,) = operator.destroyed()
    assert found["actor"]["issuer"] == "operator"
    shown = operator.manage("authority", "show", "blue")
    assert "retired" in shown.splitlines()[0]
    assert all(fingerprint in shown for fingerprint in found["facts"]["keys"])


def test_done_again_it_destroys_and_says_nothing_more(operator):
    operator.manage("authority", "destroy-keys", "--yes", "blue")
    assert "no key of authority blue is left" in operator.manage(
        "authority", "destroy-keys", "blue"
    )
    assert len(operator.destroyed()) == 1


def test_what_a_first_run_left_a_second_destroys(operator):
    with operator.application() as application:
        first, *_ = application.authorities.show("blue").keys
        application.keystore.delete(first.reference)
    assert "destroyed 2 keys" in operator.manage("authority", "destroy-keys", "--yes", "blue")
    assert operator.kept("blue") == 0


def test_the_keys_of_an_authority_that_is_not_retired_are_never_destroyed(operator):
    told = operator.manage("authority", "destroy-keys", "--yes", "red", code=1)
    assert "not retired" in told
    assert operator.kept("red") == 3
    assert operator.destroyed() == []


@pytest.mark.parametrize(("answer", "code"), [("red\n", 1), ("y\n", 1), ("", 2), ("blue\n", 0)])
def test_it_is_confirmed_by_the_authoritys_id(operator, monkeypatch, answer, code):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    operator.manage("authority", "destroy-keys", "blue", code=code)
    assert operator.kept("blue") == (3 if code else 0)
    assert len(operator.destroyed()) == (0 if code else 1)
