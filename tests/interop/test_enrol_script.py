"""The static vendordata: what cloud-init finds in it, and what the script in it does."""

import base64
import email
import hashlib
import http.server
import json
import subprocess
import threading
from contextlib import suppress
from functools import partial

import pytest

from tatu import agentfile
from tatu.core import carried
from tatu.manage.main import main

AGENT = '#!/bin/sh\necho "$@" >>{out}/called\n'


@pytest.fixture
def folder(tmp_path):
    for name in ("web", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "web/tatu-agent").write_text(AGENT.format(out=tmp_path / "out"))
    return tmp_path


@pytest.fixture
def server(folder):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def static(folder, capsys, *words, code=0, endpoint="https://tatu.example", more=""):
    """Return what Nova would read, as an operator makes it."""
    conf = folder / "tatu.conf"
    conf.write_text(f"[DEFAULT]\napi_endpoint = {endpoint}\n{more}")
    assert main([f"--config-file={conf}", "vendordata", "static", *words]) == code
    return capsys.readouterr().out


def ours(folder, url):
    return f"--agent-url={url}/tatu-agent", f"--agent={folder / 'web/tatu-agent'}"


def script(text):
    """Return the script, as cloud-init finds it in Nova's vendor data."""
    message = email.message_from_string(json.loads(text)["cloud-init"])
    assert message.is_multipart()
    (part,) = message.get_payload()
    assert part.get_content_type() == "text/x-shellscript"
    assert part.get_filename() == "tatu-enrol"
    return part.get_payload(decode=True).decode()


def run(folder, text, *, pauses="0", patience="60"):
    """Run the script, its agent installed in a folder of ours."""
    path = folder / "script"
    local = script(text).replace("/usr/lib/tatu-agent", f"{folder}/lib")
    local = local.replace("timeout 120 ", f"timeout {patience} ")
    path.write_text(local.replace("0 1 2 5 10 20 30 60 120 300", pauses))
    return subprocess.run(["sh", path], capture_output=True, text=True, check=False, timeout=60)


def value(text, name):
    """Return a setting as a shell reads it."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name}="))
    command = ["sh", "-c", f'{line}; printf %s "${name}"']
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_script_is_one_that_shells_agree_on(folder, capsys):
    found = script(static(folder, capsys))
    assert found.startswith("#!/bin/sh\n")
    subprocess.run(["shellcheck", "-s", "sh", "-"], input=found, text=True, check=True)


def test_an_instance_gets_the_agent_of_this_version_from_the_api(folder, capsys):
    found = script(static(folder, capsys))
    digest = hashlib.sha256(agentfile.packed()).hexdigest()
    assert value(found, "AGENT_SHA256") == digest
    assert value(found, "AGENT_URL") == f"https://tatu.example/v2/agent/{digest}"


def test_what_the_platform_carries_is_called_by_its_address(folder, capsys):
    more = "[vendordata]\napi_endpoint_for_vms = http://169.254.169.254/tatu\n"
    found = script(static(folder, capsys, more=more))
    asked = value(found, "AGENT_URL").removeprefix(
        "http://169.254.169.254/tatu/v2/carried?request="
    )
    path = f"/v2/agent/{value(found, 'AGENT_SHA256')}"
    assert json.loads(carried.unfolded(asked)) == {"method": "GET", "path": path}
    assert value(found, "OPTIONS") == ""


def test_an_agent_that_comes_in_an_answer_is_unwrapped(folder, capsys, server):
    body = base64.b64encode((folder / "web/tatu-agent").read_bytes()).decode()
    (folder / "web/answer").write_text(json.dumps({"status": 200, "headers": {}, "body": body}))
    made = static(folder, capsys, *ours(folder, server))
    local = made.replace("/tatu-agent\\n", "/answer\\n").replace("IS_CARRIED=''", "IS_CARRIED=yes")
    assert local != made
    assert run(folder, local).returncode == 0
    assert (folder / "out/called").exists()


def test_the_agent_is_installed_and_set_up(folder, capsys, server):
    done = run(folder, static(folder, capsys, *ours(folder, server)))
    assert done.returncode == 0, done.stderr
    assert (folder / "out/called").read_text() == "setup --platform\n"
    assert (folder / "lib/tatu-agent").stat().st_mode & 0o777 == 0o755


def test_the_api_is_waited_for(folder, capsys, server):
    made = static(folder, capsys, *ours(folder, server))
    waiting = (folder / "web/tatu-agent").rename(folder / "later")
    threading.Timer(0.3, waiting.rename, [folder / "web/tatu-agent"]).start()
    assert run(folder, made, pauses="0 0.1 0.2 0.4 0.8 1.6 3.2").returncode == 0
    assert (folder / "out/called").exists()


@pytest.mark.parametrize(
    ("part", "pause", "why"), [(b"x" * 65_536, 0, "over 4194304 bytes"), (b"x", 0.05, "")]
)
def test_an_agent_that_has_no_end_is_given_up(folder, capsys, part, pause, why):
    done = threading.Event()

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not done.wait(pause):
                    self.wfile.write(part)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            words = ours(folder, f"http://127.0.0.1:{server.server_port}")
            found = run(folder, static(folder, capsys, *words), patience="2")
        finally:
            done.set()
            server.shutdown()
    assert found.returncode != 0
    assert why in found.stderr
    assert not (folder / "lib").exists()


def test_another_file_than_the_operators_is_not_run(folder, capsys, server):
    made = static(folder, capsys, *ours(folder, server))
    (folder / "web/tatu-agent").write_text("#!/bin/sh\nexit 0\n")
    assert run(folder, made).returncode != 0
    assert not (folder / "lib").exists()
    assert not list((folder / "out").iterdir())


def test_http_beyond_the_machine_is_allowed_only_where_the_operator_said_so(folder, capsys):
    assert value(script(static(folder, capsys)), "OPTIONS") == ""
    local = static(folder, capsys, endpoint="http://127.0.0.1:8322")
    assert value(script(local), "OPTIONS") == "--insecure-http"


def test_instances_may_trust_an_authority_of_their_own_for_tls(folder, capsys):
    found = script(static(folder, capsys, "--ca-file=/etc/ssl/site.pem"))
    assert value(found, "OPTIONS") == "--ca-file=/etc/ssl/site.pem"
    assert value(found, "CA_FILE") == "/etc/ssl/site.pem"


@pytest.mark.parametrize(
    "words",
    [["--agent=/none"], ["--agent-url=ftp://x"], ["--ca-file=a b"], ["--ca-file=/a $(id)"]],
)
def test_what_is_no_file_or_url_is_refused(folder, capsys, words):
    static(folder, capsys, *words, code=2)


def test_an_address_of_the_agent_is_only_a_word_to_the_shell(folder, capsys):
    url = "--agent-url=https://files.example/'$(touch x)'"
    found = script(static(folder, capsys, url))
    assert value(found, "AGENT_URL") == "https://files.example/'$(touch x)'"
