"""What a test makes in Keystone, by plain calls, and who signs in there."""

import uuid

from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from tests.lab.openstack import keystone
from tests.lab.openstack.site import REGION

PASSWORD = "lab-somebody"


class Cloud:
    """The administrator of a lab's Keystone."""

    def __init__(self, lab):
        self.url = lab.keystone_url
        self._session = keystone.admin(lab)
        self._roles = {role["name"]: role["id"] for role in self.get("/roles")["roles"]}

    def get(self, path):
        return self._session.get(self.url + path).json()

    def make(self, noun, **body):
        """Make a thing of a name of its own; return its id."""
        body = {"name": f"{noun}-{uuid.uuid4().hex[:8]}", **body}
        if noun in ("user", "project", "group"):
            body.setdefault("domain_id", "default")
        if noun == "user":
            body.setdefault("password", PASSWORD)
        made = self._session.post(f"{self.url}/{noun}s", json={noun: body}).json()[noun]["id"]
        if noun == "role":
            self._roles[body["name"]] = made
        return made

    def change(self, noun, ident, **body):
        self._session.patch(f"{self.url}/{noun}s/{ident}", json={noun: body})

    def put(self, path):
        self._session.put(self.url + path)

    def delete(self, path, **headers):
        self._session.delete(self.url + path, headers=headers)

    def role(self, name):
        return self._roles[name]

    def assign(self, role, where, *, user=None, group=None):
        """Give a role; `where` is such as `projects/ID`, `domains/ID` or `system`."""
        who = f"users/{user}" if user else f"groups/{group}"
        self.put(f"/{where}/{who}/roles/{self.role(role)}")

    def unassign(self, role, where, *, user):
        self.delete(f"/{where}/users/{user}/roles/{self.role(role)}")

    def session(self, user, **scope):
        """Return a session of a user; `scope` is as Keystone's password plugin has it."""
        auth = v3.Password(auth_url=self.url, user_id=user, password=PASSWORD, **scope)
        return Session(auth=auth)

    def token(self, user, **scope):
        return self.session(user, **scope).get_token()

    def credential(self, user, project, **body):
        """Make an application credential of a user; return its id and a token by it."""
        body = {"name": uuid.uuid4().hex, **body}
        made = self.session(user, project_id=project).post(
            f"{self.url}/users/{user}/application_credentials",
            json={"application_credential": body},
        )
        found = made.json()["application_credential"]
        auth = v3.ApplicationCredential(
            auth_url=self.url,
            application_credential_id=found["id"],
            application_credential_secret=found["secret"],
        )
        return found["id"], Session(auth=auth).get_token()

    def trust(self, trustor, trustee, project, *, impersonation, expires_at=None):
        """Have one user lend another their role `member`; return the trust's id and a token."""
        made = self.session(trustor, project_id=project).post(
            f"{self.url}/OS-TRUST/trusts",
            json={
                "trust": {
                    "trustor_user_id": trustor,
                    "trustee_user_id": trustee,
                    "project_id": project,
                    "impersonation": impersonation,
                    "roles": [{"name": "member"}],
                    "expires_at": expires_at,
                }
            },
        )
        found = made.json()["trust"]["id"]
        return found, self.token(trustee, trust_id=found)

    def offer_ssh(self):
        """Put Tatu into the catalog: access rules name it by its type."""
        if not self.get("/services?type=ssh")["services"]:
            service = self.make("service", type="ssh")
            self._session.post(
                f"{self.url}/endpoints",
                json={
                    "endpoint": {
                        "service_id": service,
                        "interface": "public",
                        "url": "https://tatu.example",
                        "region_id": REGION,
                    }
                },
            )
