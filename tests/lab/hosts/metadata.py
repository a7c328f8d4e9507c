"""Nova's metadata service, as far as instances read it: each is told what is on its own drive."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.lab.hosts.network import METADATA

_EC2 = "/latest/meta-data/"
"""What Nova serves too: where it is missing cloud-init asks again and again for half a minute."""


@contextlib.contextmanager
def metadata(fleet, address=METADATA, port=80):
    """Serve on the switch for as long as the block lasts; yields what was asked: address and path."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            (who, _) = self.client_address
            asked.append((who, self.path))
            drives = [host.drive for host in fleet.hosts.values() if host.address == who]
            file = drives[0] / self.path.lstrip("/") if drives and drives[0] else None
            if self.path == _EC2:
                body = b""
            elif file is None or ".." in file.parts or not file.exists():
                self.send_error(404)
                return
            elif file.is_dir():
                body = "\n".join(sorted(each.name for each in file.iterdir())).encode()
            else:
                body = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with fleet.inside():
        server = ThreadingHTTPServer((address, port), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield asked
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
