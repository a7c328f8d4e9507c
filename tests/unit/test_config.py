"""What an operator may write, and what is refused with a clear text."""

import dataclasses
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from oslo_policy import generator as policies

from tatu import bootstrap, config
from tatu.core.authority import KeyAlgorithm, Purpose
from tatu.core.errors import Malformed
from tatu.core.identity import Role
from tatu.core.statement import BreakGlass, FreshnessPolicy
from tatu.drivers import loading
from tatu.manage import main as manage
from tests.vectors import keys

ETC = Path(__file__).parents[2] / "etc"
WITHOUT_ACCOUNT = {"reader", "service", "tatu-inventory", "tatu-vendordata"}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a configuration from text; the machine's own files and environment stay outside."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def loaded(text="", *, endpoint="https://tatu.example"):
        path = tmp_path / "tatu.conf"
        first = f"[DEFAULT]\napi_endpoint = {endpoint}\n" if endpoint else ""
        path.write_text(first + text)
        found = config.load(["--config-file", str(path), "--config-dir", str(tmp_path / "none.d")])
        bootstrap.check_config(found)
        return found

    (tmp_path / "none.d").mkdir()
    return loaded


def test_only_the_endpoint_is_required(load):
    found = load()
    assert found.api_endpoint == "https://tatu.example"
    assert found.database.connection == "sqlite:////var/lib/tatu/tatu.db"
    assert found.database.embedded
    assert found.state_directory == Path("/var/lib/tatu")
    assert (found.identity_driver, found.keystore_driver) == ("local", "local")
    assert (found.api.workers, found.api.blocking_threads) == (1, 64)
    assert set(found.authority.algorithms.values()) == {KeyAlgorithm.ED25519}
    assert found.role_map.without_account == WITHOUT_ACCOUNT
    assert found.statement.lifetime == timedelta(minutes=15)
    assert found.statement.break_glass is None
    assert {"root", "breakglass"} <= found.limits.reserved


def test_break_glass_keys_are_read_from_a_file_and_no_role_opens_their_account(load, tmp_path):
    lines = [keys.ED25519.line, f"{keys.RSA.line} the second"]
    (tmp_path / "offline.pub").write_text("\n".join([lines[0], "", lines[1], ""]))
    section = f"[statement]\nbreak_glass_authorities = {tmp_path}/offline.pub\n"
    found = load(f"{section}break_glass_account = help\n")
    assert found.statement.break_glass == BreakGlass(
        authorities=(keys.ED25519, keys.RSA), account="help"
    )
    assert "help" in found.limits.reserved
    opened = found.role_map.of({Role(id="1", name="help")})
    assert not opened.given
    assert "reserved" in opened.left_out[0].reason
    (tmp_path / "offline.pub").write_text("\n".join([lines[0], lines[0]]))
    with pytest.raises(Malformed, match="one twice"):
        load(section)
    (tmp_path / "offline.pub").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(Malformed, match="private key"):
        load(section)


def test_what_is_written_is_read(load):
    found = load(
        """
log_level = debug
[api]
bind_port = 1234
trusted_proxies = 10.0.0.0/8, fd00::/8
tls_certificate = /x/cert.pem
tls_key = /x/key.pem
[authority]
host_algorithm = rsa-4096
dns_suffix = {project}.example
[roles]
accounts = engineer:eng, ops:operations
without_account =
sudo = admin, ops
[statement]
lifetime = 120
freshness_policy = refuse-new-logins
[rates]
sign_in_user = 7
[limits]
reserved_accounts = backup
[identity_local]
hardware_keys_for_administrators = true
"""
    )
    assert found.log_level == "debug"
    assert [str(network) for network in found.api.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]
    assert found.api.tls == (Path("/x/cert.pem"), Path("/x/key.pem"))
    assert found.authority.algorithms[Purpose.HOST] is KeyAlgorithm.RSA_4096
    assert found.authority.dns_suffix == "{project}.example"
    assert found.role_map.account("engineer") == "eng"
    assert found.role_map.without_account == frozenset()
    assert found.role_map.sudo == {"admin", "ops"}
    assert found.statement.freshness.policy is FreshnessPolicy.REFUSE_NEW_LOGINS
    assert found.rates["sign_in_user"] == 7
    assert {"backup", "root"} <= found.limits.reserved
    assert found.conf.identity_local.hardware_keys_for_administrators


def test_the_environment_goes_before_files(load, monkeypatch):
    monkeypatch.setenv("OS_API__BIND_PORT", "4321")
    monkeypatch.setenv("OS_DATABASE__CONNECTION", "sqlite:////other.db")
    found = load("[api]\nbind_port = 1234\n")
    assert (found.api.bind_port, found.database.connection) == (4321, "sqlite:////other.db")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[api]\nbind_prot = 1\n", "no option 'bind_prot'"),
        ("[limit]\nmax_user_validity = 1\n", r"reads the section \[limit\]"),
        ("log_levle = debug\n", "no option 'log_levle'"),
        ("[keystore_local]\nkek = /x\n", "no option 'kek'"),
        ("[api]\nbind_port = many\n", "bind_port"),
        ("[api]\nworkers = 0\n", "workers"),
        ("[api]\ntrusted_proxies = 10.0.0.1/8\n", "host bits"),
        ("[api]\ntls_key = /x\n", "go together"),
        ("[identity]\ndriver = ldap\n", "no such driver, only .*local"),
        ("[keystore]\ndriver = paper\n", "no such driver, only .*local"),
        ("[authority]\nuser_algorithm = dsa\n", "user_algorithm"),
        ("[authority]\nuser_validity = 90000\n", "over max_user_validity"),
        ("[authority]\nhost_validity = 9999999\n", "host_validity"),
        ("[authority]\ndns_suffix = *.example\n", "host name"),
        ("[roles]\naccounts = ops:root\n", "reserved"),
        ("[roles]\naccounts = ops:breakglass\n", "reserved"),
        ("[limits]\nreserved_accounts = ops\n[roles]\naccounts = ops:ops\n", "reserved"),
        ("[statement]\nbreak_glass_account = root\n", "break_glass_account: .*reserved"),
        ("[statement]\nbreak_glass_authorities = /absent.pub\n", r"/absent\.pub"),
        ("[statement]\nbreak_glass_authorities = /dev/null\n", "no key, or one twice"),
        ("[roles]\naccounts = ops:Bad!\n", "no account name"),
        ("[roles]\naccounts = a:same, b:same\n", "share an account"),
        ("[statement]\nlifetime = 901\n", "lifetime"),
        ("[statement]\nfreshness_policy = panic\n", "freshness_policy"),
        ("log_level = loud\n", "log_level"),
        ("[api\n", "tatu.conf"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(load, text, why):
    with pytest.raises(Malformed, match=why):
        load(text)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("", "required"),
        ("tatu.example", "required"),
        ("ftp://tatu.example", "required"),
        ("https://tatu.example/?x=1", "required"),
        ("https://ann:secret@tatu.example", "a password"),
        ("http://tatu.example", "must be https"),
        ("http://127.0.0.1.example.org", "must be https"),
        ("http://[", "wrong"),
    ],
)
def test_the_endpoint_is_a_url_that_tokens_may_cross(load, endpoint, why):
    with pytest.raises(Malformed, match=why) as raised:
        load(endpoint=endpoint)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_loopback_the_endpoint_may_be_http(load, host):
    assert load(endpoint=f"http://{host}:8322/").api_endpoint == f"http://{host}:8322"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("bind_host = 192.0.2.1", 1),
        ("bind_host = ::", 1),
        ("bind_host = ::1", 0),
        ("bind_host = 192.0.2.1\ntrusted_proxies = 192.0.2.2/32", 0),
        ("bind_host = 192.0.2.1\ntls_certificate = /x/cert.pem\ntls_key = /x/key.pem", 0),
    ],
)
def test_listening_beyond_the_machine_in_clear_is_warned_of(load, text, count):
    warnings = list(load(f"[api]\n{text}\n").warnings)
    assert len(warnings) == count
    assert all("without TLS" in warning for warning in warnings)


def test_the_doors_of_the_originals_wire_are_closed_and_opening_one_is_warned_of(load):
    wire = load().original_wire
    assert (wire.enabled, wire.noauth, wire.ssh_port) == (False, False, 2222)
    for door, text in (("enabled", "/v1 is open"), ("noauth", "/noauth is open")):
        (warning,) = load(f"[original_wire]\n{door} = true\n").warnings
        assert text in warning


def test_a_cloud_whose_instances_nobody_asks_about_is_warned_of(load):
    alone = dataclasses.replace(load(), identity_driver="keystone")
    (warning,) = alone.warnings
    assert "no instance can enrol by vendordata" in warning
    assert list(dataclasses.replace(alone, inventory_driver="nova").warnings) == []


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(Malformed, match=r"absent\.conf"):
        config.load(["--config-file", str(tmp_path / "absent.conf")])


def test_no_repr_shows_the_databases_password(load):
    found = load("[database]\nconnection = postgresql://tatu:hunter2@db/tatu\n")
    assert "hunter2" not in repr(found)
    assert not found.database.embedded


def test_without_a_file_the_error_names_those_that_were_looked_for(load, monkeypatch, tmp_path):
    with pytest.raises(Malformed) as raised:
        load(endpoint="")
    assert "--config-file" not in str(raised.value)
    monkeypatch.setattr("oslo_config.cfg._get_config_dirs", lambda project: [str(tmp_path / "no")])
    with pytest.raises(Malformed, match=r"/etc/tatu/tatu\.conf.*--config-file"):
        config.load([])


def test_a_heading_without_options_is_no_mistake(load):
    load("[keystore_castellan]\n")
    with pytest.raises(Malformed, match=r"no part that is in use reads .*keystore_castellan"):
        load("[keystore_castellan]\ntimeout = 3\n")


def test_files_of_a_folder_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "10.conf").write_text("[DEFAULT]\napi_endpoint = https://tatu.example\n")
    (tmp_path / "20.conf").write_text("[api]\nwrong = 1\n")
    found = config.load(["--config-dir", str(tmp_path)])
    with pytest.raises(Malformed, match=r"20\.conf.*wrong"):
        bootstrap.check_config(found)


def test_the_sample_configuration_is_up_to_date():
    shown = subprocess.run(
        [sys.executable, "-m", "tatu.manage.main", "config", "sample"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert (ETC / "tatu.conf.sample").read_text() == shown


def test_the_sample_policy_is_up_to_date(capsys):
    policies.generate_sample(["--namespace=tatu"])
    assert (ETC / "policy.yaml.sample").read_text() == capsys.readouterr().out


def test_the_sample_is_a_configuration_that_lacks_only_the_endpoint(load):
    load((ETC / "tatu.conf.sample").read_text().replace("[DEFAULT]", "", 1))


def test_every_option_says_what_it_means_also_those_of_drivers():
    found = dict((*config.list_opts(), *loading.list_opts()))
    assert {"events_oslo", "identity_keystone", "inventory_nova", "keystore_castellan"} <= set(
        found
    )
    assert [
        option.name for options in found.values() for option in options if not option.help
    ] == []


@pytest.mark.parametrize("group", manage.GROUPS)
def test_every_command_has_help(group, capsys):
    with pytest.raises(SystemExit) as raised:
        manage.main([group, "--help"])
    assert raised.value.code == 0
    assert "exit codes" in capsys.readouterr().out


def test_instances_reach_us_where_callers_do_unless_another_address_is_set(load):
    assert load().vendordata.api_endpoint_for_vms == "https://tatu.example"
    found = load("[vendordata]\napi_endpoint_for_vms = https://vms.example/\nwindow = 60\n")
    assert found.vendordata.api_endpoint_for_vms == "https://vms.example"
    assert found.vendordata.window == timedelta(minutes=1)


def test_instances_reach_us_by_http_only_where_that_is_called_insecure(load):
    plain = "[vendordata]\napi_endpoint_for_vms = http://10.0.0.1:8322\n"
    with pytest.raises(Malformed, match="api_endpoint_for_vms must be https"):
        load(plain)
    found = load(f"{plain}insecure_http = true\n")
    assert found.vendordata.api_endpoint_for_vms == "http://10.0.0.1:8322"


def test_what_the_platform_carries_to_us_may_be_http(load):
    found = load("[vendordata]\napi_endpoint_for_vms = http://169.254.169.254/tatu\n")
    assert found.vendordata.api_endpoint_for_vms == "http://169.254.169.254/tatu"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("", ""),
        ("endpoint = /watch", "/watch"),
        ("endpoint = https://tatu.example:8323/watch/", "https://tatu.example:8323/watch"),
    ],
)
def test_hosts_are_told_of_a_watch_door_where_there_is_one(load, written, named):
    found = load(f"[watch]\n{written}\n").watch
    assert (named, timedelta(seconds=55), False) == (found.endpoint, found.hold, found.with_api)


@pytest.mark.parametrize(
    ("written", "asked"),
    [("", "https://tatu.example"), ("api = http://127.0.0.1:8322/", "http://127.0.0.1:8322")],
)
def test_the_watch_door_asks_the_api_where_callers_do_or_where_it_is_told(load, written, asked):
    assert load(f"[watch]\n{written}\n").watch.api == asked


def test_the_watch_door_asks_nobody_in_clear(load):
    with pytest.raises(Malformed, match=r"\[watch\] api must be https"):
        load("[watch]\napi = http://tatu.example\n")


@pytest.mark.parametrize(
    "endpoint", ["watch", "ftp://tatu.example/", "https://a:b@tatu.example/", "https://x/?y"]
)
def test_a_watch_door_is_a_path_or_a_url(load, endpoint):
    with pytest.raises(Malformed, match=r"\[watch\] endpoint"):
        load(f"[watch]\nendpoint = {endpoint}\n")
