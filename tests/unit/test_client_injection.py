"""Whatever the API answers, it puts no option into ssh's command or file, and no line of its own."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tatu.client import knownhosts, ready, sshconfig
from tatu.client.clouds import Cloud
from tatu.client.ready import Ready
from tatu.client.resources import Host
from tests.fakes.tatu_api import HOST

CLOUD = Cloud(name="blue", url="https://t", user="u", project="p", key="k")
PATTERN = re.compile(r"(\*\.)?[a-z0-9][a-z0-9.:-]*")
HOSTILE = st.text("\n\r\t\0 \"'%!?*,#@|\\-=.:$`;aZ1\u212a\u2028", max_size=12) | st.sampled_from(
    ["db", "db-1", "192.0.2.1", "fe80::1", "fe80::1%lo", "*.b.example", "db\nProxyCommand x",
     "db ProxyCommand=x", "!db", "-oProxyCommand=x", "x.b.example", "github.com", "b.example\n*"]
)  # fmt: skip
HOSTS = st.builds(
    Host,
    id=HOSTILE,
    authority=st.just("p"),
    names=st.lists(HOSTILE, max_size=3),
    addresses=st.lists(HOSTILE, max_size=3),
    principals=st.lists(HOSTILE, max_size=2),
    state=st.just("enrolled"),
)


@pytest.fixture(scope="module", autouse=True)
def _state(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@given(st.lists(HOSTS, max_size=3), HOSTILE)
@example([], "b.example")
def test_no_answer_adds_a_line_to_known_hosts(hosts, suffix):
    patterns = knownhosts.patterns(knownhosts.aliases(hosts, suffix), suffix)
    text = knownhosts.lines(patterns, [HOST.public_key], "blue")
    assert text.count("\n") == bool(patterns)
    if patterns:
        mark, names, *rest = text.rstrip("\n").split(" ")
        assert (mark, rest) == ("@cert-authority", [*HOST.public_key.line.split(), "tatu:blue"])
        assert all(PATTERN.fullmatch(name) for name in names.split(","))


@given(st.lists(HOSTS, max_size=3), HOSTILE)
def test_no_answer_adds_an_option_to_the_configuration(hosts, suffix):
    known = knownhosts.aliases(hosts, suffix)
    patterns = knownhosts.patterns(known, suffix)
    text = sshconfig.text(CLOUD, known, patterns, "tatu refresh")
    options = {f"    {name} {value}" for name, value in ready.ssh_options(str(CLOUD.folder))}
    command = 'exec "tatu refresh"'
    for line in re.split(r"[\r\n\0]", text.removesuffix("\n")):
        if found := re.fullmatch(rf"Match host (\S+)( {re.escape(command)})?", line):
            assert all(PATTERN.fullmatch(name) for name in found[1].split(","))
        elif found := re.fullmatch(r"    (?:HostKeyAlias|HostName) (.*)", line):
            assert PATTERN.fullmatch(found[1])
        else:
            assert line in options | {"Match all"} or line.startswith("# ")


@given(st.lists(HOSTS, max_size=3), HOSTILE)
def test_no_answer_adds_an_option_to_the_command(hosts, suffix):
    known = knownhosts.aliases(hosts, suffix)
    found = Ready(
        valid_after=0, valid_before=1, principals=["admin"], hosts=known, waiting=[], asked_at=0,
        forwards=False,
    )  # fmt: skip
    folder = str(CLOUD.folder)
    for host in ["db", *known]:
        options = ready.ssh_options(folder, known=host in known)
        fixed = [word for name, value in options for word in ("-o", f"{name}={value}")]
        alias = ["-o", f"HostKeyAlias={known[host]}"] if host in known else []
        address = ready.where_to(known, host)
        to = ["-o", f"HostName={address}"] if address else []
        expected = ["ssh", *fixed, *alias, *to, "-l", "admin", host]
        assert expected == ready.ssh_command(folder, found, host, [])
        assert all(PATTERN.fullmatch(word.partition("=")[2]) for word in alias[1:] + to[1:])
