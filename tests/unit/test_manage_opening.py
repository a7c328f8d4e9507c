"""What `tatu-manage` says when it is run by another user than the service's."""

import os
import pwd
from types import SimpleNamespace

import pytest

from tatu.core.errors import Conflict, Unavailable
from tatu.manage import opening


@pytest.fixture
def config(tmp_path):
    return SimpleNamespace(state_directory=tmp_path)


def fails(config, error):
    with opening.as_the_service(config):
        raise error


def test_who_runs_it_as_another_user_is_told_how_the_service_runs_it(config, monkeypatch):
    owner = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 3_000_000_000)  # nobody has this one
    with pytest.raises(Unavailable) as told:
        fails(config, Unavailable("the key file belongs to somebody else"))
    first, advice = str(told.value).splitlines()
    assert first == "the key file belongs to somebody else"
    assert f"this runs as 3000000000, but {config.state_directory} is {owner}'s" in advice
    assert f"-p User={owner} -p LoadCredential=kek:/etc/tatu/kek tatu-manage" in advice
    assert f"runuser -u {owner} -- tatu-manage" in advice


def test_the_services_user_is_told_what_failed_alone(config):
    with pytest.raises(Unavailable, match=r"^the database is away$"):
        fails(config, Unavailable("the database is away"))


@pytest.mark.parametrize("error", [Conflict("that is another id"), KeyError("ours")])
def test_what_another_user_would_not_mend_is_told_as_it_is(config, monkeypatch, error):
    monkeypatch.setattr(os, "geteuid", lambda: 3_000_000_000)
    with pytest.raises(type(error)) as told:
        fails(config, error)
    assert told.value is error


def test_a_folder_that_is_not_there_is_nobodys(config, tmp_path):
    config.state_directory = tmp_path / "none"
    with pytest.raises(Unavailable, match=r"^the database is away$"):
        fails(config, Unavailable("the database is away"))
