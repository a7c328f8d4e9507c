"""Tatu as a host sees it: the protocol by the core's rules, over real HTTP, and ways to lie in it."""

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tatu.core import certificate, enrolment, krl, sshsig, statement, wire
from tatu.core.certificate import Certificate, CertificateToSign, CertificateType
from tatu.core.enrolment import EnrolmentToken
from tatu.core.errors import TatuError
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.core.statement import Freshness, FreshnessPolicy, Statement

SECRET = bytes(range(32))
DEPLOYMENT = "deployment-7"


class Key:
    """An Ed25519 key that signs as SSH does."""

    def __init__(self):
        self._private = Ed25519PrivateKey.generate()
        line = self._private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        self.public = PublicKey.parse(line.decode())

    def sign(self, data: bytes) -> bytes:
        return wire.string("ssh-ed25519") + wire.string(self._private.sign(data))

    def armored(self, namespace: Namespace, message: bytes) -> str:
        signature = self.sign(sshsig.to_be_signed(namespace, message))
        return SshSignature(self.public, str(namespace), "sha512", signature).armored


def certify(authority: Key, subject: PublicKey, principals, **changes) -> Certificate:
    now = datetime.now(UTC).replace(microsecond=0)
    contents = {
        "subject_key": subject,
        "type": CertificateType.HOST,
        "serial": 7,
        "key_id": "host_db-1_7",
        "principals": tuple(principals),
        "valid_after": now - timedelta(minutes=5),
        "valid_before": now + timedelta(days=7),
        "critical_options": {},
        "extensions": {},
        "signature_key": authority.public,
        "nonce": bytes(32),
    }
    made = CertificateToSign(**{**contents, **changes})
    return certificate.signed(made, authority.sign(made.to_be_signed))


@dataclass
class FakeTatu:
    """One authority with one admitted host; tests change its parts to change what it says."""

    authority: str = "blue"
    host: str = "db-1"
    address: str = "127.0.0.1"
    user_key: Key = field(default_factory=Key)
    host_key: Key = field(default_factory=Key)
    statement_key: Key = field(default_factory=Key)
    next_statement_key: Key = field(default_factory=Key)
    accounts: dict = field(default_factory=lambda: {"admin": ("admin",)})
    revoked: frozenset = frozenset()
    revoked_hosts: frozenset = frozenset()
    signer: Key | None = None
    """Signs statements instead of the statement key."""
    served: dict = field(default_factory=dict)
    """Path: (status, body, headers) that is served instead of the truth."""
    requests: list = field(default_factory=list)
    certificate_changes: dict = field(default_factory=dict)
    answer_changes: dict = field(default_factory=dict)
    answer_mac: str | None = None
    _statement: Statement | None = None
    _krls: dict = field(default_factory=dict)
    _certificates: dict = field(default_factory=dict)

    def __post_init__(self):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._answer(*fake.get(self.path, self.headers.get("If-None-Match")))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(*fake.post(self.path, json.loads(body)))

            def _answer(self, status, body=b"", headers=()):
                fake.requests.append(f"{self.command} {self.path} {status}")
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **dict(headers)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.publish()
        self._server = ThreadingHTTPServer((self.address, 0), Handler)
        self.url = f"http://{self.address}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    @property
    def token(self) -> str:
        keys = (self.statement_key.public, self.next_statement_key.public)
        trust = enrolment.trust_digest(keys)
        return str(
            EnrolmentToken(
                url=self.url, authority=self.authority, host=self.host, secret=SECRET, trust=trust
            )
        )

    @property
    def statement(self) -> Statement:
        return self._statement

    def publish(self, **changes) -> Statement:
        """Say something new; `changes` are fields of the statement, and `krl` the list's bytes."""
        now = datetime.now(UTC).replace(microsecond=0)
        last = self._statement.version if self._statement else 0
        version = statement.next_version(last, datetime.now(UTC))
        revoked = {self.user_key: self.revoked, self.host_key: self.revoked_hosts}
        serials = {key.public: krl.Serials.of(listed) for key, listed in revoked.items() if listed}
        made = krl.encode(
            krl.Krl(version=version, generated_at=now, comment=self.authority, serials=serials)
        )
        listed = changes.pop("krl", made)
        fields = {
            "deployment": DEPLOYMENT,
            "authority": self.authority,
            "host": "*",
            "version": version,
            "issued": now,
            "expires": now + timedelta(minutes=15),
            "krl_version": version,
            "krl_digest": statement.digest(listed),
            "user_authorities": (self.user_key.public,),
            "host_authorities": (self.host_key.public,),
            "statement_keys": (self.statement_key.public, self.next_statement_key.public),
            "accounts": self.accounts,
            "sudo": (),
            "pam_sudo": False,
            "end_at_expiry": False,
            "break_glass": None,
            "freshness": Freshness(policy=FreshnessPolicy.WARN, max_age_seconds=3600),
            "minimum_agent_version": "0.1",
            "lockdown": False,
        }
        self._statement = Statement(**{**fields, **changes})
        self._krls[self._statement.krl_version] = listed
        return self._statement

    def say(self, said: Statement) -> None:
        """Serve this statement, signed, whatever it is."""
        self._statement = said

    def signed(self) -> dict:
        text = statement.encode(self._statement)
        signature = (self.signer or self.statement_key).armored(Namespace.STATEMENT, text)
        return {"statement": text.decode(), "signature": signature}

    def get(self, path, etag):
        if path in self.served:
            return self.served[path]
        if path == "/v2":
            return 200, json.dumps(
                {
                    "version": {"id": "v2", "status": "CURRENT", "links": []},
                    "deployment": DEPLOYMENT,
                }
            ).encode()
        root = f"/v2/authorities/{self.authority}"
        if path == f"{root}/statement":
            current = f'"{self._statement.version}"'
            if etag == current:
                return 304, b"", {"ETag": current}
            return 200, json.dumps(self.signed()).encode(), {"ETag": current}
        version = path.removeprefix(f"{root}/krl/")
        if version.isdigit() and int(version) in self._krls:
            return 200, self._krls[int(version)]
        return 404, json.dumps({"detail": "there is no such thing", "request_id": "r1"}).encode()

    def post(self, path, request):
        if path in self.served:
            return self.served[path]
        assert path == "/v2/enrolments"
        try:
            return 201, json.dumps(self._redeem(request)).encode()
        except TatuError as error:
            return 403, json.dumps({"detail": str(error), "request_id": "r2"}).encode()

    def _certificate(self, key):
        """Return the key's certificate: the same one when it is asked for again."""
        usual = {"subject": key, "principals": (self.host,)}
        if key not in self._certificates:
            made = certify(self.host_key, **{**usual, **self.certificate_changes})
            self._certificates[key] = made.line
        return self._certificates[key]

    def _redeem(self, request):
        keys = tuple(map(PublicKey.parse, request["host_keys"]))
        message = enrolment.message(
            deployment=DEPLOYMENT,
            authority=request["authority"],
            host=request["host"],
            nonce=request["nonce"],
            host_keys=keys,
        )
        enrolment.check_request_mac(SECRET, message, request["mac"])
        assert len(request["signatures"]) == len(keys)
        for key, armored in zip(keys, request["signatures"], strict=True):
            signature = SshSignature.parse(armored)
            assert signature.public_key == key
            signature.signed_bytes(Namespace.ENROL, message)
        answer = {
            "deployment": DEPLOYMENT,
            "authority": self.authority,
            "host": self.host,
            "certificates": [self._certificate(key) for key in keys],
            **self.signed(),
            "statement_keys": [
                self.statement_key.public.line,
                self.next_statement_key.public.line,
            ],
            "user_authorities": [self.user_key.public.line],
            "host_authorities": [self.host_key.public.line],
            "krl": {"version": 1, "digest": "", "url": ""},
            **self.answer_changes,
        }
        text = json.dumps(answer)
        mac = enrolment.answer_mac(SECRET, request["nonce"], text.encode())
        return {"answer": text, "mac": self.answer_mac or mac}


def older(said: Statement, **changes) -> Statement:
    """Return a statement with other fields."""
    return replace(said, **changes)
