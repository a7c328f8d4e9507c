"""The whole lab: what each tier has, started in an order that waits for nothing needlessly."""

import contextlib
import time
import uuid
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from tests.lab.openstack import (
    barbican,
    bind,
    designate,
    glance,
    keystone,
    mariadb,
    neutron,
    nova,
    placement,
    rabbitmq,
)
from tests.lab.openstack.process import START, Processes, answers
from tests.lab.openstack.site import REGION, Site

TIERS = ("identity", "dns", "compute", "all")
"""Each has what identity has; `all` has everything."""

_NO_VENDORDATA = nova.Vendordata()


def _silent(line):
    pass


class Lab(Site):
    """A running OpenStack; `Lab.start` is how to get one."""

    @classmethod
    @contextlib.contextmanager
    def start(
        cls,
        folder,
        tier="identity",
        *,
        notification_format="basic",
        token_expiration=3600,
        vendordata=_NO_VENDORDATA,
        say=_silent,
    ):
        """Keep a lab in a folder of its own for as long as the block lasts; nothing of it remains.

        `say` is told each step with its seconds; token_expiration is in seconds.
        """
        lab = cls(folder, vendordata, say)
        try:
            lab._start_identity(
                notification_format=notification_format, token_expiration=token_expiration
            )
            lab.extend(tier)
            yield lab
        finally:
            lab._close()

    def __init__(self, folder, vendordata, say):
        folder = folder.resolve()
        super().__init__(folder)
        self.processes = Processes(folder)
        self._services = {}
        self._vendordata = vendordata
        self._say = say
        self._began = time.monotonic()

    def extend(self, tier):
        """Start what a bigger tier needs on top of what runs."""
        assert tier in TIERS, tier
        try:
            if tier in ("dns", "all") and "designate-api" not in self._services:
                self._start_dns()
            if tier in ("compute", "all") and "nova-api" not in self._services:
                self._start_compute()
        except BaseException:
            self.processes.close()  # half a tier serves nobody
            raise

    def configure_vendordata(self, vendordata):
        """Have another vendordata from now on: the metadata service is started again, nothing else."""
        nova.configure_vendordata(self, vendordata)
        self.stop("nova-metadata")
        self.start_again("nova-metadata")

    def stop(self, name):
        """Stop a service as systemd does: what it promised to keep it keeps."""
        self._services[name].stop()

    def kill(self, name):
        """Kill a service at once."""
        self._services[name].kill()

    def start_again(self, name):
        """Start a service that was stopped, at the same address, and wait until it is ready."""
        self._services[name].start()

    def log(self, name):
        """Return the path of a service's log."""
        return self._services[name].log

    def requests(self, name):
        """Return what a service was asked so far: lines of method, path and status.

        The log is behind the answers by a moment, so a request of our own tells when all before it are there.
        """
        mark, file = f"/?{uuid.uuid4().hex}", self.folder / f"{name}.requests"
        answers(self.url(name, mark))()
        until = time.monotonic() + START
        while mark not in (lines := file.read_text()):
            assert time.monotonic() < until, f"{name} logs nothing"
            time.sleep(0.01)
        return [line for line in lines.splitlines() if not line.startswith(("GET / ", "GET /?"))]

    def cloud(self, *who, **auth):
        """Return an openstacksdk connection; its arguments are those of `session`."""
        import openstack  # noqa: PLC0415  half a second, which not every test needs

        return openstack.connection.Connection(
            session=self.session(*who, **auth), region_name=REGION
        )

    @property
    def exports(self):
        """Return the environment of the administrator's command line."""
        return {
            "OS_AUTH_URL": self.keystone_url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_PASSWORD": self.admin_password,
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_PROJECT_NAME": "admin",
            "OS_REGION_NAME": REGION,
            "OS_USERNAME": "admin",
            "OS_USER_DOMAIN_ID": "default",
            "TATU_LAB_FOLDER": str(self.folder),
            "TATU_LAB_TRANSPORT_URL": self.transport_url,
        }

    def _start_identity(self, **options):
        def start_bus():
            for service in rabbitmq.services(self, self.processes):
                self._start(service)

        def start_keystone():
            self._start(keystone.service(self, self.processes, **options))
            keystone.add_endpoint(self, "barbican", self.barbican_url)

        self._together(
            start_bus,
            start_keystone,
            lambda: self._start(barbican.service(self, self.processes)),
        )

    def _start_dns(self):
        made = designate.services(self, self.processes)

        def start(name):
            return lambda: self._start(made[name])

        self._together(
            lambda: self._start(mariadb.for_dns(self, self.processes)),
            lambda: self._start(bind.service(self, self.processes)),
            lambda: keystone.add_endpoint(self, "designate", self.designate_url),
        )
        self._together(*map(start, made))
        designate.update_pool(self, self.processes)

    def _start_compute(self):
        made = nova.services(self, self.processes, self._vendordata)
        made["neutron"] = neutron.service(self, self.processes)
        made["glance"] = glance.service(self, self.processes)
        made["placement"] = placement.service(self, self.processes)

        def start_database():
            self._start(mariadb.for_compute(self, self.processes))

        def add_endpoints():
            for name, url in (
                ("neutron", self.neutron_url),
                ("glance", self.glance_url),
                ("placement", self.placement_url),
                ("nova", self.nova_url),
            ):
                keystone.add_endpoint(self, name, url)

        def start(name):
            return lambda: self._start(made[name])

        self._together(start_database, add_endpoints)
        # compute asks the conductor and placement while it starts, and waits long for those that are not there
        first = ("nova-conductor", "placement", "glance", "neutron")
        then = ("nova-compute", "nova-scheduler", "nova-api", "nova-metadata")
        self._together(*map(start, first))
        self._together(*map(start, then))

    def _start(self, service):
        self._services[service.name] = service
        service.start()
        self._say(f"{time.monotonic() - self._began:5.1f} s  {service.name}")

    def _together(self, *parts):
        """Do parts at the same time; the first that fails ends all others, and is what is raised."""
        with ThreadPoolExecutor(len(parts)) as pool:
            doing = [pool.submit(part) for part in parts]
            try:
                for part in wait(doing, return_when=FIRST_EXCEPTION).done:
                    part.result()
            except BaseException:
                self.processes.close()  # or an interrupt would wait for the others
                raise

    def _close(self):
        self.processes.close()
        self.ports.release()
