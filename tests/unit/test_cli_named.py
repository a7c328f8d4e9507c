"""What is named on the command line and is not there, and what is changed of an authority."""

import io
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tatu.client.resources import Authority
from tatu.core.errors import Malformed, NotFound

# osc_lib warns of a module of its own when it is imported
pytestmark = pytest.mark.filterwarnings("ignore:The osc_lib.version module is deprecated")

LISTS = ["ca.CaList", "host.HostList", "hostcert.HostcertList", "usercert.UsercertList"]


class FakeApi:
    """One project, `red`, without an authority in it but its own; one host, `db`; and no history."""

    def __init__(self):
        self.changed = None

    def authority(self, authority):
        if authority != "red":
            raise NotFound("there is no authority")

    def host(self, authority, host):
        if host != "db":
            raise NotFound(f"there is no host {host!r}")

    def nothing(self, *_):
        return []

    authorities = hosts = certificates = logins = nothing

    def change_authority(self, authority, changes):
        self.changed = (authority, changes)
        return Authority(
            id=authority,
            name=authority,
            profile=changes,
            keys=[],
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            revision=2,
        )


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def run(api):
    """Run a command; the directory knows `empty`, which has no authority, and not `red`."""

    def ran(place, *words):
        from importlib import import_module  # noqa: PLC0415 -- as above

        module, name = place.split(".")
        connection = SimpleNamespace(
            api=api,
            find=lambda kind, named: named if named == "empty" else None,
            session=lambda: SimpleNamespace(project="red"),
        )
        app = SimpleNamespace(
            client_manager=SimpleNamespace(ssh=connection), stdout=io.StringIO(), NAME="tatu"
        )
        command = getattr(import_module(f"tatu.cli.{module}"), name)(app, None)
        command.run(command.get_parser("tatu").parse_args([*words, "-f", "json"]))
        return app.stdout.getvalue()

    return ran


@pytest.mark.parametrize("place", [*LISTS, "login.LoginList"])
def test_a_project_that_is_not_there_is_no_empty_list(run, place):
    for there in ([], ["--project", "red"], ["--project", "empty"], ["--all-projects"]):
        assert run(place, *there).strip() == "[]"
    with pytest.raises(NotFound, match="no project with id or name 'nothing'"):
        run(place, "--project", "nothing")


@pytest.mark.parametrize("place", ["hostcert.HostcertList", "login.LoginList"])
def test_a_host_that_is_not_there_is_no_empty_list(run, place):
    assert run(place, "--host", "db").strip() == "[]"
    with pytest.raises(NotFound, match="no host 'nothing'"):
        run(place, "--host", "nothing")


def test_a_limit_of_an_authority_is_changed_and_the_others_stay(run, api):
    assert '"pam_sudo": true' in run("ca.CaSet", "--pam-sudo")
    assert api.changed == ("red", {"pam_sudo": True})
    run(
        "ca.CaSet", "empty", "--no-pam-sudo", "--user-validity", "2h", "--no-extension",
        "--source-address", "10.0.0.0/8", "--source-address", "2001:db8::/32", "--dns-suffix", "",
    )  # fmt: skip
    assert api.changed == (
        "empty",
        {
            "pam_sudo": False,
            "user_validity": 7200,
            "extensions": [],
            "source_addresses": ["10.0.0.0/8", "2001:db8::/32"],
            "dns_suffix": "",
        },
    )


def test_nothing_to_change_is_said_and_not_asked(run, api):
    with pytest.raises(Malformed, match="say what to change"):
        run("ca.CaSet")
    assert api.changed is None
