"""A host that Tatu has left alone: who comes by a role is refused, who breaks the glass is not."""

import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from tatu.core.keys import PublicKey
from tatu.core.statement import BreakGlass, Freshness, FreshnessPolicy
from tatu.manage.main import main
from tests.hosts.obeying import Obeying
from tests.lab.hosts.fleet import GATEWAY

MAX_AGE = 600


def said(offline, left=MAX_AGE):
    """Return what a statement says that grows stale in so many seconds."""
    issued = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=MAX_AGE - left)
    authority = PublicKey.parse(offline.with_suffix(".pub").read_text())
    return {
        "issued": issued,
        "expires": issued + timedelta(minutes=15),
        "accounts": {"admin": ("admin",)},
        "sudo": ("admin",),
        "pam_sudo": True,
        "end_at_expiry": True,
        "break_glass": BreakGlass(authorities=(authority,), account="breakglass"),
        "freshness": Freshness(policy=FreshnessPolicy.REFUSE_NEW_LOGINS, max_age_seconds=MAX_AGE),
    }


@pytest.fixture(scope="module")
def obeying(fleet, offline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("breakglass")
    with Obeying.start(fleet, "breakglass", folder, **said(offline)) as obeying:
        yield obeying


@pytest.fixture
def certify(offline, capsys):
    """Make a certificate as an operator does, with nothing of Tatu but one program."""

    def made(key):
        words = ["--authority", offline, "--source-address", GATEWAY, "--key-id", "ann: INC-7"]
        assert main(["breakglass", "certify", *map(str, words), f"{key}.pub"]) == 0
        return capsys.readouterr().out.strip()

    return made


@pytest.fixture
def emergency(obeying, certify):
    return obeying.kept(certify(obeying.key))


def test_break_glass_opens_its_account_with_root_and_no_other(obeying, emergency):
    login = obeying.login("breakglass", emergency, "id -un; sudo -n id -un")
    assert login.stdout == "breakglass\nroot\n", login.stderr + obeying.host.journal("ssh")
    for account in ("admin", "root"):
        assert obeying.login(account, emergency, "true").returncode == 255
    for principal in ("breakglass", "admin"):
        certificate = obeying.certified(principal)
        assert obeying.login("breakglass", certificate, "true").returncode == 255
    assert "ID ann: INC-7 (serial" in obeying.host.journal("ssh")


def test_whoever_comes_without_naming_a_place_is_told_to_the_journal(obeying, offline):
    subject = obeying.key.with_suffix(".pub")
    options = ["-I", "x", "-n", "breakglass", "-V", "+1h", "-z", "7"]
    subprocess.run(["ssh-keygen", "-q", "-s", offline, *options, subject], check=True)
    certificate = obeying.key.with_name("id-cert.pub")
    assert obeying.login("breakglass", certificate, "true").returncode == 255
    certificate.unlink()
    told = "a break-glass certificate is for named source addresses"
    assert told in obeying.host.run(["journalctl", "-t", "tatu-breakglass"]).stdout


def test_a_host_that_is_left_alone_lets_in_by_break_glass_alone(obeying, offline, emergency):
    role = obeying.certified("admin")
    assert obeying.login("admin", role, "true").returncode == 0
    path = f"/v2/authorities/{obeying.tatu.authority}/statement"
    obeying.tatu.publish(**said(offline, left=3))
    obeying.sync()
    obeying.tatu.served[path] = 503, b""
    with obeying.fleet.inside():
        kept = subprocess.Popen(
            list(map(str, obeying.ssh("breakglass", emergency, "cat"))),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
    time.sleep(4)  # the statement grows stale: real hosts have no other clock
    try:
        assert obeying.sync(check=False).returncode == 1
        refused = obeying.login("admin", role, "true")
        assert refused.returncode == 255
        assert "new logins are refused but for break-glass" in refused.stderr
        login = obeying.login("breakglass", emergency, "sudo -n id -un")
        assert login.stdout == "root\n", login.stderr
        assert "new logins are refused but for break-glass" in login.stderr
        assert obeying.sync(check=False).returncode == 1
        assert kept.poll() is None
        assert kept.communicate(b"still here")[0] == b"still here"
    finally:
        kept.kill()
        kept.communicate()
        obeying.tatu.served.clear()
    obeying.tatu.publish(**said(offline))
    obeying.sync()
    login = obeying.login("admin", role, "true")
    assert (login.returncode, "Tatu" in login.stderr) == (0, False)


def test_break_glass_that_is_no_longer_stated_opens_nothing(obeying, offline, emergency):
    obeying.tatu.publish(**{**said(offline), "break_glass": None})
    obeying.sync()
    assert obeying.login("breakglass", emergency, "true").returncode == 255
    obeying.tatu.publish(**said(offline))
    obeying.sync()
    assert obeying.login("breakglass", emergency, "true").returncode == 0


def test_every_use_is_an_alarm(boot, tatu, project, certify):
    host = boot("alarmed")
    project.enrol(host)
    host.start_loop()
    bob = project.person("bob", "member")
    bob.certify()
    key = bob.state / "id_ed25519"
    key.with_name("id_ed25519-cert.pub").write_text(certify(key))
    login = bob.ssh(host, "breakglass", "id", "-un")
    assert login.stdout == "breakglass\n", login.stderr

    def told():
        listed = project.admin.json("login", "list", "--host", host.name, "--kind", "accepted")
        return [(each["account"], each["alarm"]) for each in listed]

    host.wait_until(told, "nobody was told of the login", 60)
    assert told() == [("breakglass", "break-glass")]
    assert '"action":"login.break-glass"' in tatu.manage("audit", "export", "-")
