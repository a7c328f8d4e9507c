"""Which clouds there are, and where a token may travel."""

import os

import pytest

from tatu.client import clouds, files, ready
from tatu.client.clouds import Cloud
from tatu.client.knownhosts import install_block
from tatu.client.state import Session, State
from tatu.core.errors import Malformed, NotFound, Unauthenticated

SESSION = '{"token": "t", "expires_at": "2026-01-01T00:00:00Z", "subject": "s", "name": "n", "project": "p"}'


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TATU_CLOUD", raising=False)


def cloud(name="blue", **facts):
    return Cloud(
        name=name,
        **{"url": "https://tatu.example", "user": "u", "project": "p", "key": "k", **facts},
    )


def test_clouds_stand_side_by_side_and_the_last_is_current():
    clouds.save(cloud("one"))
    clouds.save(cloud("two", agent=True, url="http://10.0.0.1", insecure_http=True))
    assert clouds.find("one") == cloud("one")
    assert clouds.find(None).name == "two"
    assert clouds.find(None).agent
    assert clouds.config_file().stat().st_mode & 0o077 == 0


def test_the_environment_names_the_cloud(monkeypatch):
    clouds.save(cloud("one"))
    clouds.save(cloud("two"))
    monkeypatch.setenv("TATU_CLOUD", "one")
    assert clouds.find(None).name == "one"


def test_no_cloud_is_not_signed_in():
    with pytest.raises(Unauthenticated, match="tatu login"):
        clouds.find(None)
    with pytest.raises(Unauthenticated, match="'blue'"):
        clouds.find("blue")


@pytest.mark.parametrize(
    "text", ["clouds: 1", "clouds: {a: 1}", "- a", "clouds: {a: {x: 1}}", ": :", "clouds: {1: {}}"]
)
def test_a_damaged_file_is_named(text):
    path = clouds.config_file()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Malformed, match=r"clouds\.yaml"):
        clouds.listed()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "a" * 64, "ä", "-x"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(Malformed):
        cloud(name)


@pytest.mark.parametrize(
    "url", ["https://tatu.example/x", "http://127.0.0.1:1", "http://[::1]", "http://localhost:8"]
)
def test_https_and_loopback_are_taken(url):
    assert cloud(url=url).url == url


@pytest.mark.parametrize(
    "url",
    ["http://tatu.example", "http://10.0.0.1", "ftp://x", "tatu.example", "https://",
     "http://127.0.0.1.evil.example", "https://u:p@x", "https://x:y", "http://localhost.evil"],
)  # fmt: skip
def test_a_token_may_not_travel_there(url):
    with pytest.raises(Malformed):
        cloud(url=url)


def test_plain_http_must_be_asked_for():
    assert cloud(url="http://tatu.example", insecure_http=True).insecure_http


def test_a_session_reads_back_and_shows_no_token():
    session = Session.parse(SESSION)
    assert Session.parse(session.encode()) == session
    assert "'t'" not in repr(session)


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", SESSION.replace("2026", "x"), "[" * 9999])
def test_a_damaged_session_says_how_to_mend_it(text):
    with pytest.raises(Malformed, match="tatu login"):
        Session.parse(text)


def test_the_state_is_private_even_if_it_was_not(tmp_path):
    (tmp_path / "state/tatu/blue").mkdir(parents=True, mode=0o755)
    state = State.of(tmp_path / "state/tatu/blue")
    assert state.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ['a"b', "a%b", "a\nb", "a\\b"])
def test_a_folder_that_ssh_cannot_be_told_is_refused(tmp_path, name):
    with pytest.raises(Malformed):
        State.of(tmp_path / name)


def test_what_is_forgotten_lets_nobody_in(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    state = State.of(tmp_path / "state")
    state.keep_session(Session.parse(SESSION))
    for path in (state.subject_key, state.public_key, state.certificate, state.ready):
        path.write_text("x")
    state.trust("p").write_text("x")
    state.forget()
    assert [path.name for path in state.folder.iterdir()] == ["trust-p.json"]
    assert state.session() is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write(path, "old")

    def full(_):
        raise OSError(28, "disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff")
    for name in ("absent", "binary"):
        with pytest.raises(NotFound, match=name):
            files.read(tmp_path / name)


@pytest.mark.parametrize("top", [True, False])
def test_a_block_is_kept_up_to_date_and_the_rest_left_alone(tmp_path, top):
    path = tmp_path / "file"
    path.write_text("before")
    assert install_block(path, "# b", "# e", "one\n", top=top)
    assert install_block(path, "# b", "# e", "two \\1\n", top=top)
    assert not install_block(path, "# b", "# e", "two \\1\n", top=top)
    expected = "# b\ntwo \\1\n# e\n"
    assert path.read_text() == (expected + "before" if top else "before\n" + expected)


def test_a_block_with_a_lost_mark_is_not_guessed_at(tmp_path):
    path = tmp_path / "file"
    path.write_text("# b\nuser's own lines\n")
    with pytest.raises(Malformed, match="by hand"):
        install_block(path, "# b", "# e", "x\n", top=False)


def test_a_linked_file_stays_a_link_with_its_mode(tmp_path):
    (tmp_path / "real").write_text("")
    (tmp_path / "real").chmod(0o644)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    install_block(tmp_path / "link", "# b", "# e", "x\n", top=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o644


def test_the_short_way_needs_a_cloud():
    assert ready.short_way(None, "root@db", []) is None
    assert ready.short_way("../x", "root@db", []) is None
    assert not ready.nothing_is_due("../x")
