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
def boss(team, tmp_path):
    return Person(tmp_path / "boss", **team.variables("boss"))


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


def test_a_certificate_is_had_shown_and_revoked(team, boss, member):
    made = member.json("usercert", "create")
    assert made["principals"] == ["member"]
    assert Path(made["file"]).parent == member.state
    listed = member.json("usercert", "list")
    assert [found["serial"] for found in listed] == [made["serial"]]
    shown = member.json("usercert", "show", made["serial"])
    assert (shown["subject"], shown["user_name"]) == (team.users["member"], team.names["member"])
    assert member.json("usercert", "list", "--user", team.names["member"]) == listed
    assert boss.json("usercert", "list", "--user", team.users["member"]) == listed
    revoked = member.json("usercert", "revoke", made["serial"], "--reason", "test")
    assert revoked["revoked"] == [str(made["serial"])]
    assert member.json("usercert", "show", made["serial"])["revoked_reason"] == "test"


def test_an_administrator_sees_all_projects_and_names_them_and_users(team, admin, member):
    serial = member.json("usercert", "create")["serial"]
    everything = admin.json("ca", "list", "--all-projects")
    assert team.project in {found["id"] for found in everything}
    for project in (team.name, team.project):
        assert [found["id"] for found in admin.json("ca", "list", "--project", project)] == [
            team.project
        ]
        for user in (team.names["member"], team.users["member"]):
            listed = admin.json("usercert", "list", "--project", project, "--user", user)
            assert serial in {found["serial"] for found in listed}
    assert admin.json("ca", "show", team.name)["id"] == team.project
    assert admin.json("usercert", "list") == []
    assert serial in {
        found["serial"] for found in admin.json("usercert", "list", "--all-projects")
    }


def test_a_member_sees_no_other_project_whatever_they_ask_for(team, cloud, member, tmp_path):
    other = Team(cloud)
    stranger = Person(tmp_path / "stranger", **other.variables("boss"))
    stranger.json("ca", "create")
    assert [found["id"] for found in member.json("ca", "list", "--all-projects")] == [team.project]
    refused = member.ssh("ca", "show", other.project, status=1)
    absent = member.ssh("ca", "show", "absent", status=1)
    without_id = [re.sub(r"\(request .*\)", "", told.stderr) for told in (refused, absent)]
    assert without_id[0].replace(other.project, "absent") == without_id[1]


def test_a_cloud_of_clouds_yaml_is_enough(team, tmp_path):
    person = Person(tmp_path / "home", OS_CLOUD="mine")
    folder = person.home / ".config/openstack"
    folder.mkdir(parents=True)
    auth = {
        "auth_url": team.url,
        "username": team.names["member"],
        "password": PASSWORD,
        "user_domain_id": "default",
        "project_id": team.project,
    }
    mine = {"auth": auth, "region_name": REGION}
    (folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"mine": mine}}))
    assert person.json("usercert", "create")["principals"] == ["member"]
    del person.environment["OS_CLOUD"]
    named = person.run("--os-cloud", "mine", "ssh", "ca", "show", "-f", "value", "-c", "id")
    assert named.stdout.strip() == team.project


def test_an_application_credential_signs_in(team, cloud, tmp_path):
    session = cloud.session(team.users["member"], project_id=team.project)
    made = session.post(
        f"{team.url}/users/{team.users['member']}/application_credentials",
        json={"application_credential": {"name": "osc"}},
    ).json()["application_credential"]
    person = Person(
        tmp_path / "home",
        OS_AUTH_URL=team.url,
        OS_REGION_NAME=REGION,
        OS_AUTH_TYPE="v3applicationcredential",
        OS_APPLICATION_CREDENTIAL_ID=made["id"],
        OS_APPLICATION_CREDENTIAL_SECRET=made["secret"],
    )
    assert person.json("usercert", "create")["principals"] == ["member"]


def test_a_token_signs_in_and_is_kept_nowhere(team, cloud, tmp_path):
    token = cloud.token(team.users["member"], project_id=team.project)
    person = Person(
        tmp_path / "home",
        OS_AUTH_URL=team.url,
        OS_REGION_NAME=REGION,
        OS_AUTH_TYPE="v3token",
        OS_TOKEN=token,
        OS_PROJECT_ID=team.project,
    )
    assert person.json("usercert", "create")["principals"] == ["member"]
    for file in person.home.rglob("*"):
        assert not file.is_file() or token not in file.read_text(errors="replace")


def test_the_endpoint_may_be_named_instead_of_the_catalog(team, tatu, member):
    member.environment["OS_SSH_ENDPOINT_OVERRIDE"] = "http://127.0.0.1:9"
    refused = member.ssh("ca", "list", status=1)
    assert "http://127.0.0.1:9 does not answer" in refused.stderr
    named = member.run("--os-ssh-endpoint-override", tatu.url, "ssh", "ca", "list", "-f", "json")
    assert [found["id"] for found in json.loads(named.stdout)] == [team.project]


def test_a_token_without_a_project_has_no_certificate_and_is_told_so(cloud, team, tmp_path):
    variables = team.variables("member")
    del variables["OS_PROJECT_NAME"], variables["OS_PROJECT_DOMAIN_ID"]
    cloud.assign("reader", "domains/default", user=team.users["member"])
    person = Person(tmp_path / "home", **variables, OS_DOMAIN_ID="default")
    refused = person.ssh("usercert", "create", status=1)
    assert refused.stderr == "you are signed in to no project: sign in to one\n"


def test_errors_are_one_line_with_the_requests_id(member):
    refused = member.ssh("usercert", "show", "999999", status=1)
    assert re.fullmatch(r".*\(request [\w-]+\)\n", refused.stderr)
    assert "(request " in member.ssh("token", "create", "db-1", status=1).stderr


def test_keys_are_files_or_text(member, tmp_path):
    key = make_key(tmp_path / "mine")
    made = member.json("usercert", "create", f"{key}.pub", "--validity", "10m")
    assert made["file"] == f"{key}-cert.pub"
    agent = Agent(tmp_path)
    try:
        agent.run(key)
        member.environment["SSH_AUTH_SOCK"] = str(agent.socket)
        again = member.json("usercert", "create", Path(f"{key}.pub").read_text())
    finally:
        agent.stop()
    assert again["subject_key"] == made["subject_key"]


def public_keys(tatu, project):
    with urllib.request.urlopen(f"{tatu.url}/v2/authorities/{project}/public-keys") as answer:
        return json.load(answer)["keys"]


@pytest.fixture
def sshd(boss, tatu, team, tmp_path):
    """A host that its operator enrolled by `hostcert create`; it lets `member` in as root."""
    key = make_key(tmp_path / "ssh_host_ed25519_key")
    boss.ssh("hostcert", "create", "web-1", "--name", "web", "--address", ADDRESS, "--key", key)
    users = [
        key["public_key"] for key in public_keys(tatu, team.project) if key["purpose"] == "user"
    ]
    running = Sshd(tmp_path, key, users, ["member"])
    yield running
    running.stop()
    boss.ssh("host", "delete", "web-1")


def test_people_log_in_and_hosts_are_seen(sshd, boss, member, tatu):
    words = (
        f"root@{ADDRESS}", "--", "-F", "none", "-p", sshd.port, "-o", "BatchMode=yes",
        "-o", "StrictHostKeyChecking=yes", "echo", "in",
    )  # fmt: skip
    assert member.ssh("ssh", *words).stdout == "in\n"
    (host,) = member.json("host", "list")
    assert (host["id"], host["state"]) == ("web-1", "enrolled")
    assert member.json("host", "show", "web-1")["addresses"] == [ADDRESS]
    (certificate,) = member.json("hostcert", "list", "--host", "web-1", "--live")
    assert member.json("hostcert", "show", certificate["serial"])["host"] == "web-1"
    lines = member.ssh("known-hosts").stdout
    assert re.match(rf"@cert-authority \S*\b{re.escape(ADDRESS)}\b\S* ssh-", lines)
    tatu.stop("api")
    try:
        assert member.ssh("ssh", *words).stdout == "in\n"
    finally:
        tatu.start()


def test_plain_ssh_logs_in_by_what_is_written_for_it(sshd, member):
    member.ssh("ssh-config", "--install")
    configuration = next((member.home / ".ssh/tatu").glob("*.conf"))
    (member.state / "ready.json").unlink()
    done = subprocess.run(
        ["ssh", "-F", configuration, "-p", str(sshd.port), "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=yes", f"root@{ADDRESS}", "echo", "in"],
        env=member.environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert (member.state / "ready.json").exists()


def test_a_host_is_admitted_by_a_token_and_blocks_are_seen(boss, admin, team):
    made = boss.json("token", "create", "db-1", "--name", "db", "--validity", "30m")
    assert made["token"].startswith("tatu-enrol-1.")
    assert boss.json("host", "show", "db-1")["state"] == "admitted"
    boss.ssh("host", "delete", "db-1")
    revoked = admin.json(
        "usercert", "revoke", "--user", team.names["member"], "--project", team.name, "--block"
    )
    assert revoked["krl_version"] is None or revoked["krl_version"]
    (block,) = boss.json("block", "list")
    assert block["value"] == team.users["member"]
    admin.ssh("block", "clear", block["id"], "--project", team.name)
    assert boss.json("block", "list") == []
