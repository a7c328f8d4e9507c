"""Slips of the command line that would end somebody's access, or a host's enrolment."""

import io
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tatu.client.resources import Revoked
from tatu.core.errors import Conflict, Malformed, NotFound

# osc_lib warns of a module of its own when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:The osc_lib.version module is deprecated")


class FakeApi:
    """A project with user certificate 1, host certificate 2 of db, and db enrolled."""

    def __init__(self):
        self.did = []

    def certificate(self, kind, authority, serial):
        if (kind, serial) not in {("user", 1), ("host", 2)}:
            raise NotFound(f"there is no certificate {serial} of authority {authority!r}")
        return SimpleNamespace(host="db" if kind == "host" else None)

    def revoke(self, authority, selector, reason, *, block):
        self.did.append(selector)
        return Revoked(revoked=[1], krl_version=2)

    def host(self, authority, host):
        if host == "new":
            raise NotFound("no such host")
        return SimpleNamespace(state="enrolled" if host == "db" else "admitted")

    def delete_host(self, authority, host):
        self.did.append(host)

    def create_enrolment_token(self, project, facts):
        self.did.append(facts)
        host = SimpleNamespace(id=facts["host"], principals=[facts["host"]])
        return SimpleNamespace(host=host, expires_at=datetime(2026, 1, 1, tzinfo=UTC), token="t")


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def run(api):
    """Run a command of a project that is not one's own."""
    from tatu.cli.host import HostDelete  # noqa: PLC0415 -- as above
    from tatu.cli.token import TokenCreate  # noqa: PLC0415
    from tatu.cli.usercert import UsercertRevoke  # noqa: PLC0415

    connection = SimpleNamespace(
        api=api,
        find=lambda kind, named: named,
        session=lambda: SimpleNamespace(project="red"),
    )
    app = SimpleNamespace(
        client_manager=SimpleNamespace(ssh=connection),
        stdout=io.StringIO(),
        stderr=io.StringIO(),
        NAME="tatu",
    )
    kinds = {
        "usercert revoke": UsercertRevoke,
        "token create": TokenCreate,
        "host delete": HostDelete,
    }

    def run(name, *arguments, called=None):
        command = kinds[name](app, None)
        command.cmd_name = called or name  # as typed
        parsed = command.get_parser(name).parse_args([*arguments, "--project", "blue"])
        command.take_action(parsed)
        return app.stderr.getvalue()

    return run


class Terminal(io.StringIO):
    """Where somebody types."""

    def isatty(self):
        return True


def test_a_hosts_serial_is_no_users(api, run):
    with pytest.raises(
        Malformed, match=r"certificate 2 is host db's.*hostcert show 2.*host delete"
    ):
        run("usercert revoke", "2")
    assert api.did == []
    run("usercert revoke", "1")
    assert api.did == [{"serial": 1}]


def test_a_serial_that_was_never_issued_is_named(api, run):
    with pytest.raises(NotFound, match="no certificate 777 of authority 'blue'"):
        run("usercert revoke", "777")
    assert api.did == []


def test_everything_is_revoked_only_by_whoever_confirms_it(api, run, monkeypatch):
    with pytest.raises(Malformed, match="--yes"):
        run("usercert revoke", "--everything")
    monkeypatch.setattr("sys.stderr", Terminal())
    for answer in ("", "y\n", "red\n"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        with pytest.raises(Malformed, match="nothing is revoked"):
            run("usercert revoke", "--everything")
    assert api.did == []
    monkeypatch.setattr("sys.stdin", Terminal("blue\n"))
    assert "its hosts' too, which must be renewed" in run("usercert revoke", "--everything")
    run("usercert revoke", "--everything", "--yes")
    assert api.did == [{"everything": True}] * 2


def test_an_abbreviation_reaches_no_revocation(api, run, capsys):
    for name, argument in (("usercert revoke", "1"), ("host delete", "db")):
        with pytest.raises(Malformed, match=f"write the command out: `{name}`"):
            run(name, argument, called=f"ssh {name}"[:-1])
    with pytest.raises(SystemExit):
        run("usercert revoke", "--every", "--yes")
    assert "--every" in capsys.readouterr().err
    assert api.did == []
    run("usercert revoke", "1", called="ssh usercert revoke")


def test_the_enrolment_of_a_host_ends_only_by_whoever_says_again(api, run):
    with pytest.raises(Conflict, match=r"'db' is enrolled.*--again"):
        run("token create", "db")
    assert api.did == []
    for arguments in (("db", "--again"), ("new",), ("admitted",)):
        run("token create", *arguments)
    assert [facts["host"] for facts in api.did] == ["db", "new", "admitted"]


@pytest.mark.parametrize(
    "words", ["usercert revok 99", "usercert r 99", "host del db", "ssh r", "log", "token"]
)
def test_a_command_is_found_by_its_whole_name_alone(words):
    from tatu.cli.app import Tatu  # noqa: PLC0415 -- as above

    manager = Tatu().command_manager
    try:
        _, name, _ = manager.find_command(words.split())
    except ValueError:
        name = None
    assert name == ("ssh" if words == "ssh r" else None)


@pytest.mark.parametrize("program", [None, "", "/nowhere/askpass", "no-such-askpass"])
def test_to_confirm_sudo_there_must_be_who_asks_before_anything_is_done(program, monkeypatch):
    from tatu.cli.ssh import Ssh  # noqa: PLC0415 -- as above

    monkeypatch.delenv("SSH_ASKPASS", raising=False)
    if program is not None:
        monkeypatch.setenv("SSH_ASKPASS", program)
    command = Ssh.__new__(Ssh)  # without a connection: nobody may be asked
    options = SimpleNamespace(confirm_sudo=True, target="admin@db", arguments=[])
    with pytest.raises(NotFound, match="SSH_ASKPASS"):
        command.take_action(options)
