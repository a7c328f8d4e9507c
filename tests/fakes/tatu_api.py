"""An API that answers what a test tells it to: one statement, and certificates by its key."""

import json
from datetime import UTC, datetime, timedelta

from tatu.client import resources, verifying
from tatu.client.certify import NewKey
from tatu.core import enrolment, wire
from tatu.core import krl as krls
from tatu.core import statement as statements
from tatu.core.certificate import Certificate, CertificateToSign, CertificateType
from tatu.core.enrolment import EnrolmentToken
from tatu.core.keys import PublicKey
from tatu.core.krl import Krl
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import Freshness, FreshnessPolicy, Statement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE, TWO, THREE, USER, HOST = (NewKey.generate() for _ in range(5))
SECRET = bytes(range(32))
KRL = krls.encode(Krl(version=1, generated_at=NOW, comment=""))


class FakeApi:
    """Serves one statement, signed by `signer`."""

    def __init__(self, version=1, keys=(ONE,), signer=ONE, krl=KRL, **changes):
        self.said = Statement(
            **{
                "deployment": "d",
                "authority": "p",
                "host": "*",
                "version": version,
                "issued": NOW,
                "expires": NOW + timedelta(minutes=10),
                "krl_version": version,
                "krl_digest": statements.digest(KRL),
                "user_authorities": (USER.public_key,),
                "host_authorities": (HOST.public_key,),
                "statement_keys": tuple(key.public_key for key in keys),
                "accounts": {"admin": ("admin",)},
                "sudo": ("admin",),
                "pam_sudo": False,
                "end_at_expiry": False,
                "break_glass": None,
                "freshness": Freshness(policy=FreshnessPolicy.WARN, max_age_seconds=900),
                "minimum_agent_version": "0",
                "lockdown": False,
                **changes,
            }
        )
        self.signer = signer
        self.certificate_signer = USER
        self.bytes = krl
        self.dns_suffix = "b.example"

    def statement(self, authority):
        text = statements.encode(self.said)
        return resources.Statement(
            statement=text.decode(),
            signature=self.signer.sign(Namespace.STATEMENT, text),
            krl=resources.KrlName(version=1, digest="", url=""),
        )

    def krl(self, authority, version):
        return self.bytes

    def public_keys(self, authority):
        return resources.PublicKeys(authority="p", name="p", dns_suffix=self.dns_suffix, keys=[])

    def hosts(self, authority=None):
        return []

    def create_enrolment_token(self, authority, facts):
        """Admit a host, whose secret is SECRET."""
        token = EnrolmentToken(
            url="https://t", authority=authority, host=facts["host"], secret=SECRET, trust="-"
        )
        host = resources.Host(
            id=facts["host"], authority=authority, names=[], addresses=[], principals=[],
            state="admitted",
        )  # fmt: skip
        return resources.EnrolmentToken(token=str(token), host=host, expires_at=NOW)

    def enrol(self, redemption):
        """Certify what is proven, but for `self.certificate` and `self.enrolled`, which are lies."""
        keys = [PublicKey.parse(line) for line in redemption["host_keys"]]
        host, nonce = redemption["host"], redemption["nonce"]
        message = enrolment.message(
            deployment="d", authority="p", host=host, nonce=nonce, host_keys=keys
        )
        enrolment.check_request_mac(SECRET, message, redemption["mac"])
        for key, armored in zip(keys, redemption["signatures"], strict=True):
            signature = SshSignature.parse(armored)
            assert signature.public_key == key
            signed = signature.signed_bytes(Namespace.ENROL, message)
            verifying.verify(key, signature.signature, signed)
        lies = {
            "subject_key": None,
            "type": CertificateType.HOST,
            "principals": (host,),
            "signature_key": HOST.public_key,
            **getattr(self, "certificate", {}),
        }
        answer = {
            "deployment": "d",
            "authority": "p",
            "host": host,
            "certificates": [
                self._host_certificate({**lies, "subject_key": lies["subject_key"] or key})
                for key in keys
            ],
            **getattr(self, "enrolled", {}),
        }
        text = json.dumps(answer)
        mac = enrolment.answer_mac(getattr(self, "secret", SECRET), nonce, text.encode())
        return resources.Enrolled(answer=text, mac=mac)

    def _host_certificate(self, fields):
        now = datetime.now(UTC).replace(microsecond=0)
        usual = {
            "serial": 9, "key_id": "host_9", "valid_after": now - timedelta(minutes=5),
            "valid_before": now + timedelta(days=7), "critical_options": {}, "extensions": {},
            "nonce": bytes(32),
        }  # fmt: skip
        contents = CertificateToSign(**{**usual, **fields})
        signer = getattr(self, "host_signer", HOST)
        signature = wire.string("ssh-ed25519") + wire.string(
            signer.private.sign(contents.to_be_signed)
        )
        return Certificate(contents, signature).line

    def create_user_certificate(self, authority, wanted, proof):
        """Sign what is wanted, but for `self.certificate`, which is what the server makes of it."""
        self.asked = getattr(self, "asked", 0) + 1
        now = datetime.now(UTC).replace(microsecond=0)
        contents = CertificateToSign(
            **{
                "subject_key": wanted.subject_key,
                "type": CertificateType.USER,
                "serial": self.asked,
                "key_id": "alice_1",
                "principals": tuple(sorted(wanted.principals or {"admin"})),
                "valid_after": now - timedelta(minutes=5),
                "valid_before": now + (wanted.validity or timedelta(hours=24)),
                "critical_options": {}
                if wanted.force_command is None
                else {"force-command": wanted.force_command},
                "extensions": {},
                "signature_key": USER.public_key,
                "nonce": bytes(32),
                **getattr(self, "certificate", {}),
            }
        )
        made = self.certificate_signer.private.sign(contents.to_be_signed)
        signature = wire.string("ssh-ed25519") + wire.string(made)
        return resources.Certificate(
            authority="p",
            serial=contents.serial,
            key_id=contents.key_id,
            principals=list(contents.principals),
            valid_after=contents.valid_after,
            valid_before=contents.valid_before,
            subject_key="",
            signature_key="",
            issued_at=now,
            certificate=Certificate(contents, signature).line,
        )
