"""A host as the API sees it: it enrols, and signs what it asks."""

import hashlib
import json
import secrets

from tatu.core import enrolment, hostrequest
from tatu.core.sshsig import Namespace
from tests.api.keys import ClientKey

NONCE = "ab" * 32


def enrol(deployment, token_text, keys, **other):
    """Enrol as an agent does; `other` is what is changed on the way."""
    token = enrolment.EnrolmentToken.parse(token_text)
    message = enrolment.message(
        deployment=deployment.parts.deployment,
        authority=token.authority,
        host=token.host,
        nonce=NONCE,
        host_keys=[key.public for key in keys],
    )
    body = {
        "authority": token.authority,
        "host": token.host,
        "nonce": NONCE,
        "host_keys": [key.line for key in keys],
        "mac": enrolment.request_mac(token.secret, message),
        "signatures": [key.sign(Namespace.ENROL, message) for key in keys],
    }
    return deployment.call("POST", "/v2/enrolments", json=body | other)


class SigningHost:
    """An enrolled host; `told` changes what it signs, `sent` what it sends besides."""

    def __init__(self, deployment, host="db-1", authority="blue", **more):
        self.deployment = deployment
        self.authority, self.host = authority, host
        self.keys = [ClientKey(), ClientKey()]
        self.admit(**more)

    def admit(self, **more):
        """Be admitted, and enrol by the token."""
        admitted = self.deployment.admit(self.authority, self.host, **more)
        answer = enrol(self.deployment, admitted["token"], self.keys)
        assert answer.status_code == 201, answer.text
        self.certificates = json.loads(answer.json["answer"])["certificates"]

    @property
    def path(self):
        return f"/v2/authorities/{self.authority}/hosts/{self.host}"

    def headers(self, method, path, body, /, *, key=None, namespace=Namespace.HOST, **told):
        facts = {
            "deployment": self.deployment.parts.deployment,
            "authority": self.authority,
            "host": self.host,
            "method": method,
            "path": path,
            "body_digest": hashlib.sha256(body).hexdigest(),
            "time": self.deployment.clock(),
            "nonce": secrets.token_hex(16),
        } | told
        message = hostrequest.message(**facts)
        armored = (key or self.keys[0]).sign(namespace, message)
        return {
            "Tatu-Host": f"{self.authority}/{self.host}",
            "Tatu-Time": facts["time"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Tatu-Nonce": facts["nonce"],
            "Tatu-Signature": "".join(armored.splitlines()[1:-1]),
        }

    def call(self, method, rest, value, /, *, sent=(), **told):
        """Ask under the host's own path, with JSON."""
        path, body = f"{self.path}/{rest}", json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        headers |= self.headers(method, path, body, **told) | dict(sent)
        return self.send(method, path, body, headers)

    def send(self, method, path, body, headers):
        return self.deployment.call(method, path, body=body, headers=headers)

    def renew(self, **more):
        return self.call("POST", "certificates", {}, **more)
