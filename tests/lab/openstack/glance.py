"""Glance with images in files: Nova boots nothing without one."""

import shutil

from tests.lab.openstack import conf
from tests.lab.openstack.process import wsgi
from tests.lab.openstack.venv import VENV, program


def service(site, processes):
    """Write Glance's configuration, and return it as a service."""
    home = site.folder / "glance"
    for folder in ("images", "staging", "tasks", "cache"):
        (home / folder).mkdir(parents=True)
    shutil.copy(VENV / "etc/glance/glance-api-paste.ini", home)
    settings = {
        "DEFAULT": {"enabled_backends": "fast:file", "image_cache_dir": home / "cache"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "database": {"connection": site.database("glance")},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadir": home / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": home / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": home / "tasks"},
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": home / "glance-api-paste.ini",
        },
        "keystone_authtoken": conf.authtoken(site, "glance"),
    }
    conf.write(home / "glance-api.conf", settings)
    environment = {"OS_GLANCE_CONFIG_DIR": str(home)}
    return wsgi(processes, "glance", "glance.wsgi.api", site.ports["glance"], environment)


def sync(site, processes):
    """Make Glance's tables."""
    file = site.folder / "glance/glance-api.conf"
    processes.run("glance-manage", [program("glance-manage"), "--config-file", file, "db_sync"])
