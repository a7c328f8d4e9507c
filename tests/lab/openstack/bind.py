"""BIND, which answers for the zones that Designate gives it."""

import base64
import secrets
import subprocess

from tests.lab.openstack.process import Service

_NAMED, _RNDC = "/usr/sbin/named", "/usr/sbin/rndc"


def service(site, processes):
    """Return a name server without zones, which takes them by its control channel."""
    home = site.folder / "bind"
    (home / "cache").mkdir(parents=True)
    key_file(site).touch(mode=0o600)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    key_file(site).write_text(f'key "designate" {{ algorithm hmac-sha256; secret "{key}"; }};\n')
    file = home / "named.conf"
    file.write_text(f"""\
include "{key_file(site)}";
options {{
    directory "{home}/cache"; pid-file "{home}/pid"; session-keyfile "{home}/session.key"; lock-file none;
    listen-on port {site.ports["bind"]} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
    allow-new-zones yes; allow-query {{ any; }}; allow-notify {{ 127.0.0.1; }}; notify no;
    recursion no; request-ixfr no; dnssec-validation no; minimal-responses yes; minimal-any no;
    masterfile-format text; max-refresh-time 30; min-refresh-time 1;
}};
controls {{
    inet 127.0.0.1 port {site.ports["bind-control"]} allow {{ 127.0.0.1; }} keys {{ "designate"; }};
}};
""")
    control = [_RNDC, "-s", "127.0.0.1", "-p", str(site.ports["bind-control"])]
    status = [*control, "-k", str(key_file(site)), "status"]

    def ready():
        return subprocess.run(status, capture_output=True, check=False).returncode == 0

    return Service(processes, "bind", [_NAMED, "-c", file, "-f", "-n", "1"], ready=ready)


def key_file(site):
    """Return the file of the key that opens the control channel."""
    return site.folder / "bind/rndc.key"
