"""`openstack ssh …` as people run it: a real Keystone, a real API in its catalog, real ssh and sshd."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from keystoneauth1.adapter import Adapter

from tests.e2e.cli_lab import Agent, Sshd, make_key
from tests.lab.openstack.site import REGION
from tests.openstack.clouds import PASSWORD, Cloud
from tests.openstack.deployment import deployed

OPENSTACK = str(Path(sys.executable).with_name("openstack"))
ADDRESS = "127.0.0.1"


@pytest.fixture(scope="module")
def cloud(identity_lab):
    return Cloud(identity_lab)


@pytest.fixture(scope="module")
def tatu(identity_lab, tmp_path_factory):
    with deployed(identity_lab, tmp_path_factory.mktemp("tatu")) as running:
        yield running.start()


class Person:
    """Somebody with a home of their own, who runs `openstack` with these variables."""

    def __init__(self, home, **variables):
        self.home = home
        (home / ".ssh").mkdir(mode=0o700, parents=True)
        self.environment = {
            "HOME": str(home),
            "PATH": f"{Path(OPENSTACK).parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            **variables,
        }

    def run(self, *words, status=0, stdin=subprocess.DEVNULL):
        """Run `openstack` and return what it printed; its exit status must be this one."""
        done = subprocess.run(
            [OPENSTACK, *map(str, words)],
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done

    def ssh(self, *words, **more):
        return self.run("ssh", *words, **more)

    def json(self, *words):
        return json.loads(self.ssh(*words, "-f", "json").stdout)

    @property
    def state(self):
        (found,) = (self.home / ".local/state/tatu").glob("openstack-*")
        return found


class Team:
    """A project called `blue-…` with its people, whose sign-ins are variables of `openstack`."""

    def __init__(self, cloud):
        self.url = cloud.url
        self.project = cloud.make("project")
        self.name = cloud.get(f"/projects/{self.project}")["project"]["name"]
        self.users, self.names = {}, {}
        for who, roles in (("boss", ("manager", "member")), ("member", ("member",))):
            self.users[who] = cloud.make("user")
            found = cloud.get(f"/users/{self.users[who]}")
            self.names[who] = found["user"]["name"]
            for role in roles:
                cloud.assign(role, f"projects/{self.project}", user=self.users[who])

    def variables(self, who):
        return {
            "OS_AUTH_URL": self.url,
            "OS_REGION_NAME": REGION,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": self.names[who],
            "OS_PASSWORD": PASSWORD,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_NAME": self.name,
            "OS_PROJECT_DOMAIN_ID": "default",
        }


@pytest.fixture(scope="module")
def team(cloud, tatu, tmp_path_factory):
    """A project with an authority, which its manager made."""
    made = Team(cloud)
    boss = Person(tmp_path_factory.mktemp("first") / "home", **made.variables("boss"))
    assert boss.json("ca", "create")["id"] == made.project
    return made


@pytest.fixture
def member(team, tmp_path):
    return Person(tmp_path / "member", **team.variables("member"))


@pytest.fixture
def admin(identity_lab, tmp_path):
    words = {name: str(value) for name, value in identity_lab.exports.items()}
    return Person(tmp_path / "admin", **words)


def test_what_keystoneauth_looks_for_in_the_catalog_is_there(identity_lab, tatu):
    found = Adapter(identity_lab.session(), service_type="ssh", version="2").get_endpoint_data()
    assert (found.url, found.api_version) == (f"{tatu.url}/v2", (2, 0))


def test_a_certificate_is_had_shown_and_revoked(team, member):
    made = member.json("usercert", "create")
    assert made["principals"] == ["member"]
    assert Path(made["file"]).parent == member.state
    (listed,) = member.json("usercert", "list", "--user", team.names["member"], "--live")
    shown = member.json("usercert", "show", listed["serial"])
    assert (shown["serial"], shown["subject"]) == (made["serial"], team.users["member"])
    revoked = member.json("usercert", "revoke", made["serial"], "--reason", "test")
    assert revoked["revoked"] == [str(made["serial"])]


def test_an_administrator_sees_all_projects_and_names_them_and_users(team, admin):
    everything = admin.json("ca", "list", "--all-projects")
    assert team.project in {found["id"] for found in everything}
    named = admin.json("usercert", "list", "--project", team.name, "--user", team.names["member"])
    assert {found["subject_key"] for found in named}


def test_a_member_sees_no_other_project_and_is_told_so_in_one_line(identity_lab, member):
    admins = identity_lab.session().get_project_id()
    refused = member.ssh("ca", "show", admins, status=1).stderr
    assert re.fullmatch(r".*\(request [\w-]+\)\n", refused)


def test_a_cloud_of_clouds_yaml_with_an_application_credential_is_enough(team, cloud, tmp_path):
    session = cloud.session(team.users["member"], project_id=team.project)
    made = session.post(
        f"{team.url}/users/{team.users['member']}/application_credentials",
        json={"application_credential": {"name": "osc"}},
    ).json()["application_credential"]
    person = Person(tmp_path / "home", OS_CLOUD="mine")
    folder = person.home / ".config/openstack"
    folder.mkdir(parents=True)
    auth = {
        "auth_url": team.url,
        "application_credential_id": made["id"],
        "application_credential_secret": made["secret"],
    }
    mine = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": REGION}
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"mine": mine}}))
    assert person.json("usercert", "create")["principals"] == ["member"]


def test_a_token_signs_in_and_is_kept_nowhere(team, tatu, cloud, tmp_path):
    """By a URL that is named, for a key that is given as text."""
    token = cloud.token(team.users["member"], project_id=team.project)
    person = Person(
        tmp_path / "home",
        OS_AUTH_URL=team.url,
        OS_AUTH_TYPE="v3token",
        OS_TOKEN=token,
        OS_PROJECT_ID=team.project,
        OS_REGION_NAME="elsewhere",
        OS_SSH_ENDPOINT_OVERRIDE=tatu.url,
    )
    key, agent = make_key(tmp_path / "mine"), Agent(tmp_path)
    try:
        agent.run(key)
        person.environment["SSH_AUTH_SOCK"] = str(agent.socket)
        made = person.json("usercert", "create", Path(f"{key}.pub").read_text())
    finally:
        agent.stop()
    assert made["certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    for file in person.home.rglob("*"):
        assert not file.is_file() or token not in file.read_text(errors="replace")


def test_a_token_without_a_project_has_no_certificate_and_is_told_so(cloud, team, tmp_path):
    variables = team.variables("member")
    del variables["OS_PROJECT_NAME"], variables["OS_PROJECT_DOMAIN_ID"]
    cloud.assign("reader", "domains/default", user=team.users["member"])
    person = Person(tmp_path / "home", **variables, OS_DOMAIN_ID="default")
    refused = person.ssh("usercert", "create", status=1)
    assert refused.stderr == "you are signed in to no project: sign in to one\n"


def public_keys(tatu, project):
    with urllib.request.urlopen(f"{tatu.url}/v2/authorities/{project}/public-keys") as answer:
        return json.load(answer)["keys"]


@pytest.fixture(scope="module")
def boss(team, tmp_path_factory):
    return Person(tmp_path_factory.mktemp("boss") / "home", **team.variables("boss"))


@pytest.fixture(scope="module")
def sshd(boss, tatu, team, tmp_path_factory):
    """A host that its operator enrolled by `hostcert create`; it lets `member` in as root."""
    folder = tmp_path_factory.mktemp("sshd")
    key = make_key(folder / "ssh_host_ed25519_key")
    boss.ssh("hostcert", "create", "web-1", "--name", "web", "--address", ADDRESS, "--key", key)
    users = [
        key["public_key"] for key in public_keys(tatu, team.project) if key["purpose"] == "user"
    ]
    running = Sshd(folder, key, users, ["member"])
    yield running
    running.stop()


def test_people_log_in_even_without_tatu(sshd, member, tatu):
    words = (
        f"root@{ADDRESS}", "--", "-F", "none", "-p", sshd.port, "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=yes", "echo", "in",
    )  # fmt: skip
    assert member.ssh("ssh", *words).stdout == "in\n"
    tatu.stop("api")
    try:
        assert member.ssh("ssh", *words).stdout == "in\n"
    finally:
        tatu.start()


def test_plain_ssh_logs_in_by_what_is_written_for_it(sshd, member):
    member.ssh("ssh-config", "--install")
    (configuration,) = (member.home / ".ssh/tatu").glob("*.conf")
    (member.state / "ready.json").unlink()
    done = subprocess.run(
        ["ssh", "-F", configuration, "-p", str(sshd.port), "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=yes", f"root@{ADDRESS}", "echo", "in"],
        env=member.environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert (member.state / "ready.json").exists()


def test_hosts_are_seen_admitted_and_ended(sshd, boss):
    made = boss.json("token", "create", "db-1", "--name", "db", "--validity", "30m")
    assert made["token"].startswith("tatu-enrol-1.")
    states = {found["id"]: found["state"] for found in boss.json("host", "list")}
    assert states == {"web-1": "enrolled", "db-1": "admitted"}
    boss.ssh("host", "delete", "db-1")
    lines = boss.ssh("known-hosts").stdout
    assert re.match(rf"@cert-authority \S*\b{re.escape(ADDRESS)}\b\S* ssh-", lines)
