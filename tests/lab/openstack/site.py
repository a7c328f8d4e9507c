"""What the parts of one lab know of each other: addresses, and the passwords that open them."""

import secrets
from pathlib import Path

from keystoneauth1 import session
from keystoneauth1.identity import v3

from tests.lab.openstack.ports import Ports

REGION = "RegionOne"

POLICIES = Path(__file__).parents[3] / "etc/openstack"
"""What operators are told to let Tatu's user read: the lab lets it no more."""

ADMIN_PASSWORD = "lab-admin"
"""The same in each lab: Keystone's first database is made once and copied."""


class Site:
    """A lab's folder and ports."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ports = Ports()
        self.admin_password = ADMIN_PASSWORD
        self.service_password = "lab-service"
        self.metadata_secret = secrets.token_hex(16)

    def url(self, service, path=""):
        return f"http://127.0.0.1:{self.ports[service]}{path}"

    @property
    def keystone_url(self):
        return self.url("keystone", "/v3")

    @property
    def barbican_url(self):
        return self.url("barbican")

    @property
    def glance_url(self):
        return self.url("glance")

    @property
    def placement_url(self):
        return self.url("placement")

    @property
    def nova_url(self):
        return self.url("nova-api", "/v2.1")

    @property
    def nova_metadata_url(self):
        return self.url("nova-metadata")

    @property
    def neutron_url(self):
        return self.url("neutron")

    @property
    def designate_url(self):
        return self.url("designate-api")

    @property
    def transport_url(self):
        return f"rabbit://guest:guest@127.0.0.1:{self.ports['rabbitmq']}/"

    def session(self, project="admin", user="admin", password=None, **auth):
        """Return a keystoneauth session, by default the cloud administrator's.

        Other arguments go to Keystone's password plugin in place of the project: `system_scope="all"`, `domain_id=…`.
        """
        if not auth:
            auth = {"project_name": project, "project_domain_id": "default"}
        return session.Session(
            auth=v3.Password(
                auth_url=self.keystone_url,
                username=user,
                password=password or self.admin_password,
                user_domain_id="default",
                **auth,
            )
        )

    def database(self, name, server="mariadb"):
        return f"mysql+pymysql://root@127.0.0.1:{self.ports[server]}/{name}"
