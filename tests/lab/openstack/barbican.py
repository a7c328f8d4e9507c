"""Barbican on SQLite, its keys wrapped by a key in its configuration."""

import base64
import secrets
import shutil

from tests.lab.openstack import conf, templates
from tests.lab.openstack.process import wsgi
from tests.lab.openstack.venv import VENV, program

_WSGI = """\
from paste.deploy import loadapp

application = loadapp("config:{}")
"""
"""Its own module reads its pipeline from /etc alone."""


def service(site, processes):
    """Return Barbican."""
    home = site.folder / "barbican"
    (home / ".barbican").mkdir(parents=True)  # where it looks, with this home
    pipeline = shutil.copy(VENV / "etc/barbican/barbican-api-paste.ini", home)
    (home / "barbican_lab.py").write_text(_WSGI.format(pipeline))
    settings = {
        "DEFAULT": {
            "host_href": site.barbican_url,
            "transport_url": site.transport_url,
            "db_auto_create": False,
            "api_paste_config": pipeline,
        },
        "database": {"connection": f"sqlite:///{home}/barbican.db"},
        "keystone_authtoken": conf.authtoken(site, "barbican"),
        "secretstore": {"enabled_secretstore_plugins": "store_crypto"},
        "crypto": {"enabled_crypto_plugins": "simple_crypto"},
        "simple_crypto_plugin": {
            "kek": f"'{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}'"
        },
        "queue": {"enable": False},
    }
    conf.write(home / ".barbican/barbican.conf", settings)
    environment = {"HOME": str(home), "PYTHONPATH": str(home)}

    def make(folder):
        processes.run(
            "barbican-manage", [program("barbican-manage"), "db", "upgrade"], environment
        )
        (home / "barbican.db").rename(folder / "barbican.db")

    templates.copy("barbican", make, home)
    return wsgi(processes, "barbican", "barbican_lab", site.ports["barbican"], environment)
