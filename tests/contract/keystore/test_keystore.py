"""What every `KeyStore` and its signers promise."""

import os
import pickle
import subprocess
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from oslo_context.context import RequestContext

from tatu.core.audit import Checkpoint
from tatu.core.authority import KeyAlgorithm
from tatu.core.certificate import CertificateToSign, CertificateType
from tatu.core.errors import NotFound, Unavailable
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import Freshness, FreshnessPolicy, Statement, encode
from tatu.drivers.keystore import kek
from tatu.drivers.keystore.castellan import Castellan
from tatu.drivers.keystore.kek import Keks
from tatu.drivers.keystore.local import Local
from tatu.drivers.verifier.cryptography import CryptographyVerifier
from tests.fakes.key_manager import FakeKeyManager
from tests.fakes.keystore import FakeKeyStore
from tests.fakes.secrets import FakeSecrets

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALGORITHMS = {
    KeyAlgorithm.ED25519: ("ssh-ed25519", 256),
    KeyAlgorithm.ECDSA_P256: ("ecdsa-sha2-nistp256", 256),
    KeyAlgorithm.ECDSA_P384: ("ecdsa-sha2-nistp384", 384),
    KeyAlgorithm.RSA_3072: ("ssh-rsa", 3072),
    KeyAlgorithm.RSA_4096: ("ssh-rsa", 4096),
}


def local():
    keks = Keks.parse(kek.new_line(os.urandom), "here")
    return Local(secrets=FakeSecrets(), keks=keks, randomness=os.urandom)


def castellan():
    return Castellan(
        manager=FakeKeyManager(),
        context=RequestContext(overwrite=False),
        backend="fake",
        secrets=FakeSecrets(),
        randomness=os.urandom,
    )


@pytest.fixture(params=[FakeKeyStore, local, castellan])
def keystore(request):
    return request.param()


def to_sign(signature_key, subject_key):
    return CertificateToSign(
        subject_key=subject_key,
        type=CertificateType.USER,
        serial=1,
        key_id="ann_1",
        principals=("member",),
        valid_after=NOW,
        valid_before=NOW + timedelta(hours=1),
        critical_options={},
        extensions={"permit-pty": ""},
        signature_key=signature_key,
        nonce=os.urandom(32),
    )


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_key_of_each_algorithm_signs_a_certificate_that_ssh_keygen_reads(
    keystore, algorithm, tmp_path
):
    reference, public_key = keystore.create(algorithm)
    assert (public_key.algorithm, public_key.bits) == ALGORITHMS[algorithm]
    signer = keystore.signer(reference)
    assert signer.public_key == public_key
    _, subject = keystore.create(KeyAlgorithm.ED25519)
    certificate = signer.sign_certificate(to_sign(public_key, subject))
    CryptographyVerifier().verify(
        public_key, certificate.signature, certificate.contents.to_be_signed
    )
    (tmp_path / "cert.pub").write_text(certificate.line)
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "cert.pub"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert public_key.fingerprint in shown
    if public_key.algorithm == "ssh-rsa":
        assert certificate.signature_algorithm == "rsa-sha2-512"


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_statements_and_checkpoints_are_signed_each_for_its_purpose(keystore, algorithm):
    reference, public_key = keystore.create(algorithm)
    _, other = keystore.create(KeyAlgorithm.ED25519)
    signer = keystore.signer(reference)
    statement = Statement(
        deployment="d",
        authority="blue",
        host="*",
        version=1,
        issued=NOW,
        expires=NOW + timedelta(minutes=10),
        krl_version=1,
        krl_digest="sha256:" + "0" * 64,
        user_authorities=(other,),
        host_authorities=(),
        statement_keys=(public_key,),
        accounts={"member": ("member",)},
        sudo=(),
        freshness=Freshness(policy=FreshnessPolicy.WARN, max_age_seconds=60),
        minimum_agent_version="0",
        lockdown=False,
        pam_sudo=False,
        end_at_expiry=False,
        break_glass=None,
    )
    checkpoint = Checkpoint(deployment="d", sequence=1, hash="0" * 64, at=NOW)
    for armored, namespace, message in (
        (signer.sign_statement(statement), Namespace.STATEMENT, encode(statement)),
        (signer.sign_checkpoint(checkpoint), Namespace.CHECKPOINT, checkpoint.encoded),
    ):
        signature = SshSignature.parse(armored)
        assert public_key == signature.public_key
        CryptographyVerifier().verify(
            public_key, signature.signature, signature.signed_bytes(namespace, message)
        )


def test_a_certificate_that_names_another_signature_key_is_not_signed(keystore):
    reference, _ = keystore.create(KeyAlgorithm.ED25519)
    _, other = keystore.create(KeyAlgorithm.ED25519)
    _, subject = keystore.create(KeyAlgorithm.ED25519)
    with pytest.raises(ValueError, match="another signature key"):
        keystore.signer(reference).sign_certificate(to_sign(other, subject))


def test_a_deleted_key_is_not_found_and_deleting_it_again_is_no_error(keystore):
    reference, _ = keystore.create(KeyAlgorithm.ED25519)
    keystore.delete(reference)
    keystore.delete(reference)
    with pytest.raises(NotFound):
        keystore.signer(reference)


@pytest.mark.parametrize("reference", ["nothing", str(uuid.UUID(int=1))])
def test_a_key_that_never_was_is_not_found_and_deleting_it_is_no_error(keystore, reference):
    with pytest.raises(NotFound):
        keystore.signer(reference)
    keystore.delete(reference)


def test_a_secret_is_the_same_at_each_call_and_differs_by_name(keystore):
    secret = keystore.secret("enrolment")
    assert len(secret) == 32
    assert secret == keystore.secret("enrolment")
    assert secret != keystore.secret("other")


def test_a_key_store_that_works_passes_its_check(keystore):
    keystore.check()


def test_a_signer_shows_only_its_public_half_and_is_not_pickled(keystore):
    reference, public_key = keystore.create(KeyAlgorithm.ED25519)
    signer = keystore.signer(reference)
    assert repr(signer) == f"MemorySigner({public_key.fingerprint})"
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def test_a_key_store_that_is_out_says_so(keystore):
    match keystore:
        case FakeKeyStore():
            keystore.out = True
        case Local():
            keystore.secrets.out = True
        case Castellan():
            keystore.manager.out = True
    for ask in (
        keystore.check,
        lambda: keystore.create(KeyAlgorithm.ED25519),
        lambda: keystore.signer(str(uuid.UUID(int=1))),
        lambda: keystore.delete(str(uuid.UUID(int=1))),
        lambda: keystore.secret("new"),
    ):
        with pytest.raises(Unavailable):
            ask()
