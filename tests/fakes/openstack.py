"""As much of Keystone, Nova and Neutron as the inventory asks, on one port; it can be told to lie."""

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import SplitResult, parse_qs, urlsplit

PAGE = 2
"""How many servers a page has at most, however many are asked for."""


class FakeOpenStack:
    """Servers of projects, with ports and floating IPs; `lies` are answers by the start of a path.

    Of paths that begin with `away` nothing is answered; of those with `hanging`, once `answers` is set.
    """

    def __init__(self) -> None:
        self.servers: dict[str, dict] = {}
        self.ports: list[dict] = []
        self.floating: list[dict] = []
        self.projects = {"service", "blue", "red"}
        self.lies: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.away = self.hanging = "nothing"
        self.reached, self.answers = threading.Event(), threading.Event()
        self._tokens: dict[str, str] = {}
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if cloud._ask(self):
                    return
                self._send(*cloud._answer(self.path, self.headers.get("X-Auth-Token", "")))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if cloud._ask(self):
                    return
                status, answer, token = cloud._sign_in(body)
                self._send(status, answer, token)

            def _send(self, status: int, body: bytes, token: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if token:
                    self.send_header("X-Subject-Token", token)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _ask(self, request: BaseHTTPRequestHandler) -> bool:
        """Note what is asked, and tell whether the connection breaks."""
        self.asked.append(request.path)
        if request.path.startswith(self.hanging):
            self.reached.set()
            self.answers.wait(30)
        request.close_connection = request.path.startswith(self.away)
        return request.close_connection

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, server: str, *, project="blue", name="db", created, addresses=()) -> None:
        self.servers[server] = {
            "id": server,
            "tenant_id": project,
            "OS-EXT-SRV-ATTR:hostname": name,
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "addresses": {"net": [{"addr": address} for address in addresses]},
            "actions": [{"action": "create", "start_time": created.isoformat()[:26]}],
        }
        self.port(server, addresses, project=project)

    def port(self, server, addresses, *, project="blue", owner="compute:nova") -> str:
        port = str(uuid.uuid4())
        self.ports.append(
            {
                "id": port,
                "project_id": project,
                "device_id": server,
                "device_owner": owner,
                "fixed_ips": [{"ip_address": address} for address in addresses],
            }
        )
        return port

    def rebuild(self, server: str, at: datetime) -> None:
        moment = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        self.servers[server]["actions"].insert(0, {"action": "rebuild", "start_time": moment})

    def _sign_in(self, body: dict) -> tuple[int, bytes, str]:
        project = body["auth"]["scope"]["project"]["id"]
        if project not in self.projects:
            return 401, _text({"error": {"code": 401, "message": "no", "title": "no"}}), ""
        token = uuid.uuid4().hex
        self._tokens[token] = project
        now = datetime.now(UTC)
        catalog = [
            {
                "type": kind,
                "name": kind,
                "id": kind,
                "endpoints": [
                    {
                        "id": kind,
                        "interface": "public",
                        "region": "R",
                        "region_id": "R",
                        "url": url,
                    }
                ],
            }
            for kind, url in (
                ("compute", f"{self.url}/compute/v2.1"),
                ("network", f"{self.url}/network"),
            )
        ]
        access = {
            "methods": ["password"],
            "user": {"id": "tatu", "name": "tatu", "domain": {"id": "d", "name": "d"}},
            "project": {"id": project, "name": project, "domain": {"id": "d", "name": "d"}},
            "roles": [{"id": "r", "name": "tatu-inventory"}],
            "catalog": catalog,
            "issued_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "expires_at": (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        return 201, _text({"token": access}), token

    def _answer(self, path: str, token: str) -> tuple[int, bytes]:
        lies = [lie for start, lie in self.lies.items() if path.startswith(start)]
        return lies[0] if lies else self._truth(urlsplit(path), self._tokens.get(token, ""))

    def _truth(self, parts: SplitResult, project: str) -> tuple[int, bytes]:
        query, status, found = parse_qs(parts.query), 200, {}
        match parts.path.strip("/").split("/"):
            case ["v3"]:
                links = [{"rel": "self", "href": f"{self.url}/v3/"}]
                found = {"version": {"id": "v3.14", "status": "stable", "links": links}}
            case ["network"]:
                links = [{"rel": "self", "href": f"{self.url}/network/v2.0/"}]
                found = {"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}
            case ["network", "v2.0", "ports"]:
                wanted = query.get("device_id", [])
                found = {"ports": [port for port in self.ports if port["device_id"] in wanted]}
            case ["network", "v2.0", "floatingips"]:
                wanted = query["port_id"]
                found = {"floatingips": [ip for ip in self.floating if ip["port_id"] in wanted]}
            case ["compute", "v2.1", "servers"]:
                assert query["all_tenants"] == ["1"]
                after = query.get("marker", [""])[0]
                ids = sorted(server for server in self.servers if server > after)
                found = {"servers": [{"id": server} for server in ids[:PAGE]]}
            case ["compute", "v2.1", "servers", server, *more]:
                status, found = self._shown(server, project, actions=bool(more))
            case _:
                return 404, b"there is nothing at this path"
        return status, _text(found)

    def _shown(self, server: str, project: str, *, actions: bool) -> tuple[int, object]:
        found = self.servers.get(server)
        if found is None or found["tenant_id"] != project:
            text = f"Instance {server} could not be found."
            return 404, {"itemNotFound": {"code": 404, "message": text}}
        return 200, {"instanceActions": found["actions"]} if actions else {"server": found}


def _text(value: object) -> bytes:
    return json.dumps(value).encode()
