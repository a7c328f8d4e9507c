"""`tatu-manage openstack register`: what was made is written down, whatever else fails."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
from keystoneauth1.exceptions import ConnectFailure
from openstack.exceptions import SDKException

from tatu.drivers.identity import registration
from tatu.manage.main import main


class Identity:
    """A Keystone in which nothing is there, and which fails from a call on if told so."""

    def __init__(self):
        self.made = []
        self.fails = set()
        self.there = defaultdict(list, region=[SimpleNamespace(id="RegionOne")])

    def find_domain(self, name):
        return SimpleNamespace(id="default", name=name)

    def domains(self):
        return [self.find_domain("Default")]

    def __getattr__(self, call):
        if call in self.fails:
            raise SDKException(f"{call} fails")
        verb, _, what = call.partition("_")
        if verb == "find":
            return lambda name, **_: next(
                (each for each in self.there[what] if each.name == name), None
            )
        if verb == "create":
            return lambda **facts: self._create(what, facts)
        if verb == "validate":
            return lambda *_, **__: False
        if verb == "assign":
            return lambda *_, **__: None
        return lambda **_: self.there[call.removesuffix("s")]

    def _create(self, what, facts):
        facts = {"name": "", "domain_id": None, "region_id": None, **facts}
        made = SimpleNamespace(id=str(len(self.made)), **facts)
        self.made.append(what)
        if what != "role":
            self.there[what].append(made)
        return made


@pytest.fixture
def identity(monkeypatch):
    found = Identity()
    config = SimpleNamespace(auth={"auth_url": "http://127.0.0.1:1/v3"})
    cloud = SimpleNamespace(session=None, identity=found, config=config)
    monkeypatch.setattr(registration, "connect", lambda **_: cloud)
    return found


@pytest.fixture
def register(tmp_path):
    def run(*words):
        files = [f"--tatu-file={tmp_path}/tatu.conf", f"--nova-file={tmp_path}/nova.conf"]
        endpoint = "--endpoint=https://tatu.example"
        return main(["openstack", "register", endpoint, *files, *words])

    return run


def test_both_passwords_are_written_and_what_the_catalog_lacks_is_said(
    identity, register, tmp_path, capsys
):
    assert register() == 0
    out = capsys.readouterr().out
    assert "no compute: no [inventory] written" in out
    assert "no key-manager: no [keystore] written" in out
    for name, user in (("tatu.conf", "tatu"), ("nova.conf", "tatu-vendordata")):
        (made,) = (each for each in identity.there["user"] if each.name == user)
        assert f"password = {made.password}\n" in (tmp_path / name).read_text()


def test_the_password_of_a_user_who_was_made_is_kept_when_the_rest_fails(
    identity, register, tmp_path, capsys
):
    identity.fails = {"assign_project_role_to_user"}
    assert register() == 1
    assert "assign_project_role_to_user fails" in capsys.readouterr().err
    (made,) = identity.there["user"]
    assert f"password = {made.password}\n" in (tmp_path / "tatu.conf").read_text()
    assert not (tmp_path / "nova.conf").exists()


def test_a_user_whose_password_nobody_knows_is_a_failure_that_says_what_to_do(
    identity, register, tmp_path, capsys
):
    identity._create("user", {"name": "tatu-vendordata"})
    assert register() == 1
    assert "run again with --new-passwords" in capsys.readouterr().out
    assert not (tmp_path / "nova.conf").exists()


@pytest.mark.parametrize(
    "words", [["--region=Nowhere"], ["--endpoint=tatu.example"], ["--endpoint=https:///v2"]]
)
def test_a_wrong_region_or_endpoint_makes_nothing(identity, register, words):
    assert register(*words) == 2
    assert identity.made == []


def test_files_that_cannot_be_written_make_nothing(identity, register, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *_: False)
    assert register() == 1
    assert "cannot be written" in capsys.readouterr().err
    assert identity.made == []


def test_a_keystone_that_is_away_is_named_without_credentials(monkeypatch, register, capsys):
    def connect(**_):
        raise ConnectFailure("no connection to https://admin:hunter2@keystone.example:5000/v3: x")

    monkeypatch.setattr(registration, "connect", connect)
    assert register() == 1
    err = capsys.readouterr().err
    assert "keystone.example:5000" in err
    assert "hunter2" not in err


def test_a_cloud_that_is_in_no_file_is_named(monkeypatch, register, tmp_path, capsys):
    monkeypatch.setenv("OS_CLOUD", "nowhere")
    monkeypatch.chdir(tmp_path)
    assert register() == 2
    assert "OS_CLOUD is 'nowhere'" in capsys.readouterr().err
