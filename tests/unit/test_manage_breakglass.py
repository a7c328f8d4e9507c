"""`tatu-manage breakglass`: certificates from an offline key, with nothing else at hand."""

import subprocess
from datetime import timedelta

import pytest

from tatu.core.certificate import Certificate
from tatu.core.keys import PublicKey
from tatu.manage.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    for name in ("offline", "id"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(command, check=True)
    return tmp_path


@pytest.fixture
def certify(folder, capsys):
    """Run the command with what a good one has, and return the code and what was printed."""

    def run(*words, authority="offline", source="192.0.2.0/28", key_id="ann: INC-7"):
        given = ["--authority", str(folder / authority), "--source-address", source]
        code = main(
            ["breakglass", "certify", *given, "--key-id", key_id, *words, str(folder / "id.pub")]
        )
        return code, *capsys.readouterr()

    return run


def test_a_certificate_opens_one_account_from_one_place_for_a_short_time(certify, folder):
    code, out, _ = certify()
    assert code == 0
    certificate = Certificate.parse(out.strip())
    contents = certificate.contents
    assert contents.signature_key == PublicKey.parse((folder / "offline.pub").read_text())
    assert contents.subject_key == PublicKey.parse((folder / "id.pub").read_text())
    assert contents.principals == ("breakglass",)
    assert contents.key_id == "ann: INC-7"
    assert contents.serial > 0
    assert dict(contents.critical_options) == {"source-address": "192.0.2.0/28"}
    assert contents.valid_before - contents.valid_after == timedelta(minutes=65)
    assert "permit-agent-forwarding" not in contents.extensions


def test_a_key_in_an_agent_signs_without_its_file(certify, folder, monkeypatch):
    socket = folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        while subprocess.run(["ssh-add", "-l"], capture_output=True, check=False).returncode == 2:
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", folder / "offline"], check=True)
        (folder / "offline").unlink()
        code, out, _ = certify(authority="offline.pub")
    finally:
        agent.terminate()
        agent.wait(10)
    assert code == 0
    signer = Certificate.parse(out.strip()).contents.signature_key
    assert signer == PublicKey.parse((folder / "offline.pub").read_text())


@pytest.mark.parametrize(
    ("words", "given", "why"),
    [
        (("--minutes", "236"), {}, "at most 4:00:00"),
        ((), {"source": "0.0.0.0/0"}, "named source addresses"),
        (("--source-address", "::/0"), {}, "named source addresses"),
        ((), {"source": "everywhere"}, "no address"),
        ((), {"source": "192.0.2.1/24"}, "host bits"),
        (("--account", "root"), {}, "reserved"),
        (("--account", "a,b"), {}, "one account"),
        ((), {"key_id": "ann\nAccepted publickey"}, "key ID"),
        ((), {"key_id": " "}, "key ID"),
        ((), {"authority": "absent"}, "cannot read"),
        ((), {"authority": "id"}, "the subject key is the signature key"),
    ],
)
def test_what_hosts_would_refuse_is_not_handed_out(certify, words, given, why):
    code, out, err = certify(*words, **given)
    assert code in (1, 2)
    assert out == ""
    assert why in err
    assert err.count("\n") == 1


def test_the_longest_one_is_four_hours_long(certify):
    _, out, _ = certify("--minutes", "235")
    contents = Certificate.parse(out.strip()).contents
    assert contents.valid_before - contents.valid_after == timedelta(hours=4)


def test_a_locked_key_that_nobody_can_be_asked_for_is_refused(certify, folder):
    command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", folder / "offline"]
    subprocess.run(command, check=True)
    code, out, err = certify()
    assert (code, out) == (1, "")
    assert "ssh-keygen did not do it" in err


def test_a_key_without_passphrase_is_made_only_when_that_is_said(folder, capsys):
    command = ["breakglass", "create-key", str(folder / "new")]
    assert main(command) == 1
    assert "no terminal" in capsys.readouterr().err
    assert not (folder / "new").exists()
    assert main([*command, "--without-passphrase"]) == 0
    assert (folder / "new").stat().st_mode & 0o077 == 0
    assert "break_glass_authorities" in capsys.readouterr().out
    before = (folder / "new").read_bytes()
    assert main([*command, "--without-passphrase"]) == 1
    assert before == (folder / "new").read_bytes()
