"""ssh-keygen and sshd read the lists that we write, and we read theirs."""

import base64
import hashlib
import os
import pwd
import random
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tatu.core import krl
from tatu.core.keys import PublicKey
from tatu.core.krl import Krl, Serials
from tests.fakes.revoking_sshd import is_revoked

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=30)


def keypair(folder, name, kind="ed25519"):
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(folder / name))
    return PublicKey.parse((folder / f"{name}.pub").read_text())


def certificate(folder, *, ca, key, serial, key_id="a_1", principals="alice"):
    """Certify KEY.pub into KEY-cert.pub, and keep a copy by its serial."""
    options = ("-q", "-I", key_id, "-n", principals, "-z", str(serial))
    run("ssh-keygen", "-s", str(folder / ca), *options, str(folder / f"{key}.pub"))
    path = folder / f"{key}-{ca}-{serial}.pub"
    shutil.copy(folder / f"{key}-cert.pub", path)
    return path


def the_list(**fields):
    return Krl(**{"version": 7, "generated_at": NOW, "comment": "tatu"} | fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("krl")


@pytest.fixture(scope="module")
def ca(folder):
    return keypair(folder, "ca")


@pytest.fixture(scope="module")
def other_ca(folder):
    return keypair(folder, "other_ca", "ecdsa")


@pytest.fixture(scope="module")
def alice(folder):
    return keypair(folder, "alice")


def listed(folder, data):
    """What `ssh-keygen -Q -l` finds in a list."""
    (folder / "krl").write_bytes(data)
    return run("ssh-keygen", "-Q", "-l", "-f", str(folder / "krl")).stdout


def serials_in(text):
    found = re.findall(r"^serial: (\d+)(?:-(\d+))?$", text, re.MULTILINE)
    return Serials.of_runs((int(first), int(last or first)) for first, last in found)


def test_an_empty_list_revokes_nothing(folder, ca, alice):
    text = listed(folder, krl.encode(the_list()))
    assert text.startswith("# KRL version 7\n")
    assert "# Comment: tatu\n" in text
    path = certificate(folder, ca="ca", key="alice", serial=1)
    assert run("ssh-keygen", "-Q", "-f", str(folder / "krl"), str(path)).returncode == 0


runs = st.lists(
    st.tuples(st.integers(1, 100_000), st.integers(0, 300)).map(lambda run: (run[0], sum(run))),
    max_size=80,
)
edges = st.sampled_from(
    [(1, 1), (2**40, 2**40 + 10**9), (2**64 - 1, 2**64 - 1), (2**64 - 20_000, 2**64 - 19_000)]
)


@given(near=runs, far=st.lists(edges, max_size=2))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_ssh_keygen_lists_any_serials_that_we_write(folder, ca, near, far):
    serials = Serials.of_runs([*near, *far])
    assert serials == serials_in(listed(folder, krl.encode(the_list(serials={ca: serials}))))


@pytest.mark.parametrize(
    "serials",
    [
        range(
            1, 16_451, 10
        ),  # 1,645 serials at a step of 10, which ssh-keygen -k makes unreadable
        range(1, 200_000, 10),
        (*range(100, 100 + 16_384, 2), 100 + 16_383),  # as wide as a bitmap may be
        (*range(100, 100 + 16_384, 2), 100 + 16_384),  # and one wider
    ],
)
def test_wide_sets_stay_readable(folder, ca, serials):
    wanted = Serials.of(serials)
    assert wanted == serials_in(listed(folder, krl.encode(the_list(serials={ca: wanted}))))


def test_a_hundred_thousand_of_a_million_are_all_listed(folder, ca):
    wanted = Serials.of(random.Random(2).sample(range(1, 10**6 + 1), 10**5))
    assert wanted == serials_in(listed(folder, krl.encode(the_list(serials={ca: wanted}))))


def test_ssh_keygen_and_we_agree_on_what_is_revoked(folder, ca, other_ca, alice):
    bob = keypair(folder, "bob")
    lists = (
        the_list(serials={ca: Serials.of([5, *range(7, 90, 2)]), other_ca: Serials.of([6])}),
        the_list(revoked_key_hashes=frozenset({hashlib.sha256(bob.blob).digest()})),
        the_list(revoked_key_hashes=frozenset({hashlib.sha256(other_ca.blob).digest()})),
        the_list(whole_authorities=frozenset({other_ca})),
        the_list(whole_authorities=frozenset({bob})),
        the_list(key_ids={ca: frozenset({"b_2"})}),
    )
    certificates = [
        (signer, key, serial, key_id)
        for signer in ("ca", "other_ca")
        for key in ("alice", "bob")
        for serial in (5, 6, 8)
        for key_id in (("a_1", "b_2") if serial == 8 else ("a_1",))
    ]
    keys = {"ca": ca, "other_ca": other_ca, "alice": alice, "bob": bob}
    seen = set()
    for signer, key, serial, key_id in certificates:
        path = certificate(folder, ca=signer, key=key, serial=serial, key_id=key_id)
        for wanted in lists:
            (folder / "krl").write_bytes(krl.encode(wanted))
            code = run("ssh-keygen", "-Q", "-f", str(folder / "krl"), str(path), check=False)
            ours = is_revoked(
                wanted,
                signature_key=keys[signer],
                serial=serial,
                key_id=key_id,
                subject_key=keys[key],
            )
            assert ours == ("REVOKED" in code.stdout) == (code.returncode == 1)
            seen.add(ours)
    assert seen == {True, False}


def test_we_read_what_ssh_keygen_writes(folder, ca, alice):
    digest = base64.b64encode(hashlib.sha256(alice.blob).digest()).decode().rstrip("=")
    specification = folder / "specification"
    specification.write_text(
        "serial: 1-3\nserial: 10-12\nserial: 14\nserial: 5000-90000\nserial: 99999999\n"
        f"id: a_1\nhash: SHA256:{digest}\n"
    )
    run(
        *("ssh-keygen", "-q", "-k", "-f", str(folder / "theirs"), "-s", str(folder / "ca.pub")),
        *("-z", "9", str(specification), str(folder / "alice.pub")),
    )
    found = krl.decode((folder / "theirs").read_bytes())
    assert found.version == 9
    assert found.serials == {
        ca: Serials.of_runs([(1, 3), (10, 12), (14, 14), (5000, 90_000), (99_999_999, 99_999_999)])
    }
    assert found.key_ids == {ca: frozenset({"a_1"})}
    assert found.revoked_key_hashes == {hashlib.sha256(alice.blob).digest()}
    assert found.whole_authorities == {alice}


def test_sshd_obeys_our_lists_and_an_empty_one_locks_nobody_out(folder, ca, alice):
    user = pwd.getpwuid(os.geteuid()).pw_name
    host = keypair(folder, "host")
    for serial in (21, 22):
        certificate(folder, ca="ca", key="alice", serial=serial, principals=user)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "known_hosts").write_text(f"host {host.line}\n")
    (folder / "sshd_config").write_text(
        f"HostKey {folder / 'host'}\nTrustedUserCAKeys {folder / 'ca.pub'}\n"
        f"RevokedKeys {folder / 'live'}\nAuthorizedKeysFile none\n"
        "UsePAM no\nStrictModes no\nPermitRootLogin yes\n"
    )
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")

    def login(serial):
        options = {
            # one sshd for one connection, on a pipe: no port to find free
            "ProxyCommand": f"{sshd} -i -f {folder / 'sshd_config'} -E {folder / 'log'}",
            "HostKeyAlias": "host",
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "CertificateFile": folder / f"alice-ca-{serial}.pub",
            "UserKnownHostsFile": folder / "known_hosts",
            "StrictHostKeyChecking": "yes",
        }
        options = [f"-o{name}={value}" for name, value in options.items()]
        command = ("ssh", "-F", "none", *options, "-i", str(folder / "alice"))
        return run(*command, f"{user}@host", "true", check=False).returncode

    for revoked, codes in (([], (0, 0)), ([*range(1, 40_000, 10)], (255, 0))):
        serials = {ca: Serials.of(revoked)}
        (folder / "live").write_bytes(krl.encode(the_list(serials=serials)))
        assert codes == (login(21), login(22)), (folder / "log").read_text()
