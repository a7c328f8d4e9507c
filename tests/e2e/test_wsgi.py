"""`tatu.wsgi:application` under a server that is not ours, in a process of its own."""

import json
import os
import subprocess
import sys

from tatu.drivers.keystore import kek
from tatu.manage.main import main

SERVER = """\
import sys
from wsgiref.simple_server import make_server
from urllib.request import urlopen
import threading
from tatu.wsgi import application

server = make_server("127.0.0.1", 0, application)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
with urlopen(f"http://127.0.0.1:{server.server_address[1]}/readyz") as answer:
    print(answer.status, answer.read().decode())
server.shutdown()
server.server_close()
"""


def test_another_wsgi_server_serves_it(tmp_path):
    """The configuration is found where oslo.config looks for it: here in the caller's home."""
    (tmp_path / ".tatu").mkdir()
    config = tmp_path / ".tatu/tatu.conf"
    config.write_text(
        "[DEFAULT]\napi_endpoint = http://127.0.0.1:8322\n"
        f"[database]\nconnection = sqlite:///{tmp_path}/tatu.db\n"
        f"[state]\ndirectory = {tmp_path}/state\n"
        f"[keystore_local]\nkek_file = {tmp_path}/kek\n"
    )
    kek.add_to_file(tmp_path / "kek", os.urandom)
    assert main(["--config-file", str(config), "db", "sync"]) == 0
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SERVER],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("200 ")]
    assert json.loads(answer[4:])["checks"] == {
        "ledger": "ok",
        "keystore": "ok",
        "identity": "ok",
        "inventory": "ok",
    }
