"""The lab's bigger tier: instances, what they are told about themselves, and their addresses."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from keystoneauth1.exceptions import ConnectFailure

from tests.lab.openstack import guest, nova

TOLD = {"told": "by the service"}


class _Answering(HTTPServer):
    """A vendordata service; it keeps the tokens and bodies that it got."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.headers.get("X-Auth-Token"), body))
        answer = json.dumps(TOLD).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def vendordata_service():
    with _Answering() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cloud(compute_lab):
    return compute_lab.cloud()


def test_an_instance_runs_and_learns_both_kinds_of_vendordata(
    compute_lab, cloud, vendordata_service, tmp_path
):
    file = tmp_path / "vendordata.json"
    file.write_text('{"in": "the file"}')
    url = f"http://127.0.0.1:{vendordata_service.server_port}/vendordata"
    compute_lab.configure_vendordata(nova.Vendordata(url=url, file=file))
    server = guest.boot(cloud, "learns", metadata={"a": "b"})
    told = guest.read_metadata(compute_lab, server)
    assert told == {"static": {"in": "the file"}, "tatu": TOLD}
    [(token, asked)] = vendordata_service.got
    assert token
    assert (asked["instance-id"], asked["hostname"]) == (server.id, "learns")
    guest.delete(cloud, server)


def test_nova_learns_of_a_floating_ip(cloud):
    public, private = guest.networks(cloud)
    server = guest.boot(cloud, "reached", networks=[{"uuid": private.id}])
    [port] = cloud.network.ports(device_id=server.id)
    given = cloud.network.create_ip(floating_network_id=public.id, port_id=port.id)
    until = time.monotonic() + 30
    while given.floating_ip_address not in str(cloud.compute.get_server(server.id).addresses):
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["nova-api", "mariadb", "neutron"])
def test_a_service_can_be_stopped_and_started_again(compute_lab, cloud, name):
    compute_lab.stop(name)
    try:
        if name == "nova-api":
            with pytest.raises(ConnectFailure):
                list(cloud.compute.servers())
    finally:
        compute_lab.start_again(name)
    assert list(cloud.network.extensions())
    assert list(cloud.compute.services())
