"""What the parts of one lab know of each other: addresses, and the passwords that open them."""

import secrets
from pathlib import Path

from tests.lab.openstack.ports import Ports

REGION = "RegionOne"

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
    def transport_url(self):
        return f"rabbit://guest:guest@127.0.0.1:{self.ports['rabbitmq']}/"

    def database(self, name):
        return f"mysql+pymysql://root@127.0.0.1:{self.ports['mariadb']}/{name}"
