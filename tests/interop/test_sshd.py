"""What a real sshd and ssh make of the certificates and lists that we encode, and what they log."""

import getpass
import hashlib
import os
import re
import socket
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tatu.core import krl, wire
from tatu.core.authority import KeyAlgorithm
from tatu.core.certificate import CertificateToSign, CertificateType
from tatu.core.keys import PublicKey
from tatu.core.krl import Krl, Serials
from tatu.drivers.keystore.signer import MemorySigner, generate
from tests.vectors.keys import sk

pytestmark = pytest.mark.slow

ACCOUNT = getpass.getuser()
PRINCIPAL = "web-admin"
KEY_TYPES = {
    "ssh-rsa": ("rsa", "2048"),
    "ecdsa-sha2-nistp256": ("ecdsa", "256"),
    "ecdsa-sha2-nistp384": ("ecdsa", "384"),
    "ecdsa-sha2-nistp521": ("ecdsa", "521"),
    "ssh-ed25519": ("ed25519", "256"),
}
HOST_KEYS = {
    "ssh-ed25519": KeyAlgorithm.ED25519,
    "ecdsa-sha2-nistp256": KeyAlgorithm.ECDSA_P256,
    "ssh-rsa": KeyAlgorithm.RSA_3072,
}
"""The type of each host key, and of the authority that certifies it."""

CONFIG = """\
ListenAddress 127.0.0.1:{port}
ListenAddress 127.0.0.1:{plain_port}
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile none
TrustedUserCAKeys {folder}/authorities.pub
RevokedKeys {folder}/revoked.krl
LogLevel {level}
{host_keys}
Match LocalPort {port}
  AuthorizedPrincipalsFile {folder}/principals
"""


def now():
    return datetime.now(UTC).replace(microsecond=0)


def certify(signer, subject_key, **parts):
    """Encode and sign a certificate; by default a user's, valid now, for the principal."""
    contents = {
        "subject_key": subject_key,
        "type": CertificateType.USER,
        "serial": 7,
        "key_id": "alice_7",
        "principals": (PRINCIPAL,),
        "valid_after": now() - timedelta(minutes=5),
        "valid_before": now() + timedelta(hours=1),
        "critical_options": {},
        "extensions": {"permit-pty": ""},
        "signature_key": signer.public_key,
        "nonce": os.urandom(32),
        **parts,
    }
    return signer.sign_certificate(CertificateToSign(**contents))


def make_key(path, algorithm):
    kind, bits = KEY_TYPES[algorithm]
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f", path], check=True
    )
    return PublicKey.parse(path.with_suffix(".pub").read_text())


def free_ports():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class Sshd:
    """sshd on two ports: on one a file lists who may come in, on the other the account's name."""

    def __init__(self, folder, level="VERBOSE"):
        self.folder = folder
        self.authorities = {kind: MemorySigner(generate(kind)) for kind in KeyAlgorithm}
        self.authority = self.authorities[KeyAlgorithm.ED25519]
        self.unknown = MemorySigner(generate(KeyAlgorithm.ED25519))
        self.keys = {}
        for algorithm in KEY_TYPES:
            self.keys[algorithm] = make_key(folder / f"id_{algorithm}", algorithm)
        self.key = self.keys["ssh-ed25519"]
        lines = [f"{signer.public_key}\n" for signer in self.authorities.values()]
        (folder / "authorities.pub").write_text("".join(lines))
        (folder / "principals").write_text(f"{PRINCIPAL}\n")
        self.revoke()
        self.host_certificates = {}
        for algorithm, kind in HOST_KEYS.items():
            path = folder / f"host_{algorithm}"
            certificate = certify(
                self.authorities[kind],
                make_key(path, algorithm),
                type=CertificateType.HOST,
                serial=40 + len(self.host_certificates),
                key_id="db-1",
                principals=("db-1", "db-1.blue.example"),
                extensions={},
            )
            path.with_name(f"{path.name}-cert.pub").write_text(f"{certificate}\n")
            self.host_certificates[algorithm] = certificate
        self.port, self.plain_port = free_ports()
        self.log = folder / "sshd.log"
        host_keys = "".join(
            f"HostKey {folder}/host_{name}\nHostCertificate {folder}/host_{name}-cert.pub\n"
            for name in HOST_KEYS
        )
        (folder / "sshd_config").write_text(
            CONFIG.format(
                port=self.port,
                plain_port=self.plain_port,
                folder=folder,
                level=level,
                host_keys=host_keys,
            )
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", folder / "sshd_config", "-E", self.log]
        )
        self.log.touch()
        until = time.monotonic() + 30
        while self.log.read_text().count("Server listening") < 2:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def revoke(self, **what):
        """Put a list in place as the agent does: sshd reads it at each login."""
        new = self.folder / "revoked.new"
        new.write_bytes(krl.encode(Krl(version=1, generated_at=now(), comment="", **what)))
        subprocess.run(["ssh-keygen", "-Q", "-l", "-f", new], check=True, capture_output=True)
        new.rename(self.folder / "revoked.krl")

    def login(self, certificate, *, plain=False, agent=None, command="echo in", **options):
        """Log in with a certificate; return what ssh said, and what sshd logged meanwhile."""
        (self.folder / "id-cert.pub").write_text(f"{certificate}\n")
        trusted = [
            f"@cert-authority * {signer.public_key}\n" for signer in self.authorities.values()
        ]
        (self.folder / "known_hosts").write_text("".join(trusted))
        given = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": agent or "none",
            "CertificateFile": self.folder / "id-cert.pub",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": "db-1",
            "UpdateHostKeys": "no",
            "Port": self.plain_port if plain else self.port,
            **options,
        }
        if agent is None:
            algorithm = certificate.contents.subject_key.algorithm
            given["IdentityFile"] = self.folder / f"id_{algorithm}"
        before = self.log.stat().st_size
        arguments = [f"-o{name}={value}" for name, value in given.items()]
        done = subprocess.run(
            ["ssh", "-F", "none", *arguments, f"{ACCOUNT}@127.0.0.1", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done, self._logged(before)

    def _logged(self, before):
        """Return the log's new part, once the connection's last word is in it."""
        until = time.monotonic() + 30
        while True:
            text = self.log.read_bytes()[before:].decode()
            if re.search(r"^(Disconnected from|Connection (closed|reset) by)", text, re.MULTILINE):
                return text
            assert time.monotonic() < until, text
            time.sleep(0.01)

    def accepts(self, certificate, **options):
        done, log = self.login(certificate, **options)
        assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr + log
        return log

    def refuses(self, certificate, **options):
        done, log = self.login(certificate, **options)
        assert done.returncode == 255, done.stdout
        assert f"{ACCOUNT}@127.0.0.1: Permission denied (publickey)." in done.stderr
        assert "Accepted" not in log
        return log


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    started = Sshd(tmp_path_factory.mktemp("sshd"))
    yield started
    started.stop()


@pytest.fixture
def sshd(running):
    """Return the module's sshd, with nothing revoked."""
    running.revoke()
    return running


def shown(key):
    """Return a type of key as sshd logs it."""
    name = key.algorithm.removesuffix("@openssh.com")
    security_key = name.startswith("sk-")
    kind = next(kind for kind in ("ED25519", "ECDSA", "RSA") if kind.lower() in name)
    return f"{kind}-SK" if security_key else kind


def accepted(certificate):
    """Return the line by which sshd tells of a login, but for the port."""
    contents = certificate.contents
    subject, signer = contents.subject_key, contents.signature_key
    return re.compile(
        rf"Accepted publickey for {ACCOUNT} from 127\.0\.0\.1 port \d+ ssh2: "
        + re.escape(
            f"{shown(subject)}-CERT {subject.fingerprint} ID {contents.key_id}"
            f" (serial {contents.serial}) CA {shown(signer)} {signer.fingerprint}"
        )
    )


@pytest.mark.parametrize("algorithm", KEY_TYPES)
def test_every_type_of_key_logs_in_and_is_named(sshd, algorithm):
    certificate = certify(sshd.authority, sshd.keys[algorithm])
    assert accepted(certificate).search(sshd.accepts(certificate))


@pytest.mark.parametrize("kind", KeyAlgorithm)
def test_every_type_of_authority_is_believed_and_named(sshd, kind):
    certificate = certify(sshd.authorities[kind], sshd.key, serial=2**64 - 1)
    assert accepted(certificate).search(sshd.accepts(certificate))


def test_an_expired_certificate_is_refused(sshd):
    certificate = certify(sshd.authority, sshd.key, valid_before=now() - timedelta(seconds=1))
    assert "Certificate invalid: expired" in sshd.refuses(certificate)


def test_a_certificate_of_tomorrow_is_refused(sshd):
    certificate = certify(
        sshd.authority,
        sshd.key,
        valid_after=now() + timedelta(hours=1),
        valid_before=now() + timedelta(hours=2),
    )
    assert "Certificate invalid: not yet valid" in sshd.refuses(certificate)


def test_a_principal_that_is_not_the_account_is_refused(sshd):
    certificate = certify(sshd.authority, sshd.key)
    log = sshd.refuses(certificate, plain=True)
    assert "Certificate invalid: name is not a listed principal" in log
    sshd.accepts(certify(sshd.authority, sshd.key, principals=(ACCOUNT,)), plain=True)


def test_a_principal_that_the_file_does_not_list_is_refused(sshd):
    certificate = certify(sshd.authority, sshd.key, principals=(ACCOUNT, "other"))
    assert "Certificate does not contain an authorized principal" in sshd.refuses(certificate)


@pytest.mark.parametrize("plain", [False, True])
def test_a_certificate_without_principals_is_refused(sshd, plain):
    log = sshd.refuses(certify(sshd.authority, sshd.key, principals=()), plain=plain)
    reason = "lacks principal list" if plain else "does not contain an authorized principal"
    assert reason in log


def test_a_host_certificate_logs_nobody_in(sshd):
    certificate = certify(sshd.authority, sshd.key, type=CertificateType.HOST, extensions={})
    assert f"Failed publickey for {ACCOUNT}" in sshd.refuses(certificate)


def test_a_revoked_serial_is_refused_and_its_neighbours_are_not(sshd):
    sshd.revoke(serials={sshd.authority.public_key: Serials.of([7])})
    certificate = certify(sshd.authority, sshd.key)
    log = sshd.refuses(certificate)
    revoked = f"Authentication key ED25519-CERT {sshd.key.fingerprint} revoked by file"
    assert f"{revoked} {sshd.folder}/revoked.krl" in log
    for serial in (6, 8):
        sshd.accepts(certify(sshd.authority, sshd.key, serial=serial))
    other = sshd.authorities[KeyAlgorithm.ECDSA_P256]
    sshd.accepts(certify(other, sshd.key))  # the serial of another authority


@pytest.mark.parametrize(
    "serials",
    [range(1, 16_384), range(1, 200_000), range(7, 16_450, 10), [7, 2**63, 2**64 - 1]],
    ids=["bitmap", "range", "wide steps", "list"],
)
def test_sshd_reads_every_way_to_write_serials(sshd, serials):
    sshd.revoke(serials={sshd.authority.public_key: Serials.of(serials)})
    assert "revoked by file" in sshd.refuses(certify(sshd.authority, sshd.key))
    sshd.accepts(certify(sshd.authority, sshd.key, serial=300_000))


def test_a_revoked_subject_key_is_refused_under_every_authority(sshd):
    digest = hashlib.sha256(sshd.key.blob).digest()
    sshd.revoke(revoked_key_hashes=frozenset({digest}))
    for signer in sshd.authorities.values():
        assert "revoked by file" in sshd.refuses(certify(signer, sshd.key))
    sshd.accepts(certify(sshd.authority, sshd.keys["ecdsa-sha2-nistp256"]))


def test_all_certificates_of_a_revoked_authority_are_refused(sshd):
    sshd.revoke(whole_authorities=frozenset({sshd.authority.public_key}))
    assert "revoked by file" in sshd.refuses(certify(sshd.authority, sshd.key))
    sshd.accepts(certify(sshd.authorities[KeyAlgorithm.RSA_3072], sshd.key))


def test_another_source_address_is_refused(sshd):
    certificate = certify(
        sshd.authority, sshd.key, critical_options={"source-address": "192.0.2.0/24,2001:db8::/32"}
    )
    said = (
        f"cert: Authentication tried for {ACCOUNT} with valid certificate but not from a"
        " permitted source address (127.0.0.1)."
    )
    assert said in sshd.refuses(certificate)


def test_a_permitted_source_address_is_accepted(sshd):
    certificate = certify(
        sshd.authority, sshd.key, critical_options={"source-address": "192.0.2.1,127.0.0.0/8"}
    )
    sshd.accepts(certificate)


def test_a_forced_command_runs_instead_of_any_other(sshd):
    certificate = certify(
        sshd.authority, sshd.key, critical_options={"force-command": "echo forced"}
    )
    done, log = sshd.login(certificate)
    assert (done.returncode, done.stdout) == (0, "forced\n"), done.stderr + log


def test_a_forced_command_among_the_extensions_is_ignored(sshd):
    # why the linter looks at which list an option is on
    sshd.accepts(certify(sshd.authority, sshd.key, extensions={"force-command": "echo forced"}))


def test_an_unknown_critical_option_is_refused(sshd):
    certificate = certify(sshd.authority, sshd.key, critical_options={"only-on@tatu": ""})
    assert 'Certificate critical option "only-on@tatu" is not supported' in sshd.refuses(
        certificate
    )


def test_verbose_names_the_certificate_of_an_unknown_authority(sshd):
    certificate = certify(sshd.unknown, sshd.key, serial=12)
    log = sshd.refuses(certificate)
    fingerprint = sshd.unknown.public_key.fingerprint
    assert f"ID alice_7 (serial 12) CA ED25519 {fingerprint}" in log
    assert f"Failed publickey for {ACCOUNT}" in log


def test_at_info_an_unknown_authority_is_not_told_of_but_a_login_is(tmp_path):
    quiet = Sshd(tmp_path, "INFO")
    try:
        log = quiet.refuses(certify(quiet.unknown, quiet.key))
        assert "ublickey" not in log
        assert "ertificate" not in log
        certificate = certify(quiet.authority, quiet.key)
        done, log = quiet.login(certificate, command="echo in")
        assert done.stdout == "in\n"
        assert accepted(certificate).search(log)
    finally:
        quiet.stop()


@pytest.mark.parametrize("algorithm", HOST_KEYS)
def test_a_host_is_known_by_its_certificate(sshd, algorithm):
    prefix = "rsa-sha2-512" if algorithm == "ssh-rsa" else algorithm
    certificate = certify(sshd.authority, sshd.key)
    sshd.accepts(certificate, HostKeyAlgorithms=f"{prefix}-cert-v01@openssh.com")


def test_a_host_certificate_with_another_name_is_refused_by_the_client(sshd):
    done, _ = sshd.login(certify(sshd.authority, sshd.key), HostKeyAlias="github.com")
    assert done.returncode == 255
    assert "Certificate invalid: name is not a listed principal" in done.stderr
    assert "Host key verification failed." in done.stderr


@pytest.mark.parametrize("by", ["serial", "key"])
def test_a_revoked_host_is_refused_by_the_client(sshd, by):
    contents = sshd.host_certificates["ssh-ed25519"].contents
    what = (
        {"serials": {contents.signature_key: Serials.of([contents.serial])}}
        if by == "serial"
        else {"revoked_key_hashes": {hashlib.sha256(contents.subject_key.blob).digest()}}
    )
    path = sshd.folder / "revoked_hosts"
    path.write_bytes(krl.encode(Krl(version=1, generated_at=now(), comment="", **what)))
    done, _ = sshd.login(
        certify(sshd.authority, sshd.key),
        RevokedHostKeys=path,
        HostKeyAlgorithms="ssh-ed25519-cert-v01@openssh.com",
    )
    assert done.returncode == 255
    assert "revoked" in done.stderr
    assert "Host key verification failed." in done.stderr


class SecurityKey:
    """A security key in software: it says that it was touched (PROTOCOL.u2f)."""

    def __init__(self, algorithm):
        self._algorithm = algorithm
        self._private = (
            ed25519.Ed25519PrivateKey.generate()
            if "ed25519" in algorithm
            else ec.generate_private_key(ec.SECP256R1())
        )
        line = self._private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self.public = sk(PublicKey.parse(line.decode()), algorithm)

    def sign(self, data):
        touched_once = struct.pack(">BI", 1, 1)
        digest = hashlib.sha256(data).digest()
        signed = hashlib.sha256(b"ssh:").digest() + touched_once + digest
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            signature = self._private.sign(signed)
        else:
            der = self._private.sign(signed, ec.ECDSA(hashes.SHA256()))
            r, s = utils.decode_dss_signature(der)
            signature = wire.mpint(r) + wire.mpint(s)
        return wire.string(self._algorithm) + wire.string(signature) + touched_once


@contextmanager
def agent(path, key, certificate):
    """Serve one connection of ssh as an ssh-agent that holds one certificate."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer(kind, body):
        if kind == 11:  # SSH_AGENTC_REQUEST_IDENTITIES
            return b"\x0c" + wire.uint32(1) + wire.string(certificate.blob) + wire.string("")
        if kind == 13:  # SSH_AGENTC_SIGN_REQUEST
            reader = wire.Reader(body, "the request")
            reader.string()
            return b"\x0e" + wire.string(key.sign(reader.string()))
        return b"\x05"

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # shut down
                return
            with connection, connection.makefile("rb") as asked:
                while header := asked.read(4):
                    request = asked.read(int.from_bytes(header, "big"))
                    connection.sendall(wire.string(answer(request[0], request[1:])))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@pytest.mark.parametrize(
    "algorithm", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
)
def test_a_security_key_logs_in_and_is_named(sshd, tmp_path, algorithm):
    key = SecurityKey(algorithm)
    certificate = certify(sshd.authority, key.public)
    identity = tmp_path / "identity.pub"
    identity.write_text(f"{certificate}\n")
    with agent(tmp_path / "agent", key, certificate) as path:
        log = sshd.accepts(certificate, agent=path, IdentityFile=identity)
    assert accepted(certificate).search(log)
