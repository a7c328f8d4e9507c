"""The static vendordata: what cloud-init finds in it, and what the script in it does."""

import email
import http.server
import json
import os
import subprocess
import threading
from functools import partial

import pytest

from tatu.manage.main import main

AGENT = '#!/bin/sh\necho "$@" >>{out}/called\ncat "$3" >{out}/told\n'
DRIVE = """#!/bin/sh
mkdir -p "$4/openstack/latest"
echo '{"tatu": "of the drive"}' >"$4/openstack/latest/vendor_data2.json"
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("web", "stubs", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "web/tatu-agent").write_text(AGENT.format(out=tmp_path / "out"))
    stub(tmp_path, "blkid", "#!/bin/sh\necho /dev/sr0\n")
    stub(tmp_path, "mount", DRIVE)
    stub(tmp_path, "umount", "#!/bin/sh\n")
    stub(tmp_path, "getent", "#!/bin/sh\nexit 2\n")
    stub(tmp_path, "id", '#!/bin/sh\n[ "$1" = there ]\n')
    for name in ("groupadd", "useradd"):
        stub(tmp_path, name, f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/out/accounts\n')
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


def stub(folder, name, text):
    path = folder / "stubs" / name
    path.write_text(text)
    path.chmod(0o755)


def static(folder, capsys, url, *words, code=0, endpoint="https://tatu.example"):
    """Return what Nova would read, as an operator makes it."""
    conf = folder / "tatu.conf"
    conf.write_text(f"[DEFAULT]\napi_endpoint = {endpoint}\n")
    agent = folder / "web/tatu-agent"
    command = ["vendordata", "static", f"--agent-url={url}/tatu-agent", f"--agent={agent}"]
    assert main([f"--config-file={conf}", *command, *words]) == code
    return capsys.readouterr().out


def script(text):
    """Return the script, as cloud-init finds it in Nova's vendor data."""
    message = email.message_from_string(json.loads(text)["cloud-init"])
    assert message.is_multipart()
    (part,) = message.get_payload()
    assert part.get_content_type() == "text/x-shellscript"
    assert part.get_filename() == "tatu-enrol"
    return part.get_payload(decode=True).decode()


def run(folder, text):
    """Run the script, its agent installed in a folder of ours."""
    path = folder / "script"
    path.write_text(script(text).replace("/usr/local/sbin/tatu-agent", f"{folder}/agent"))
    environment = {**os.environ, "PATH": f"{folder}/stubs:{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", path], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_script_is_one_that_shells_agree_on(folder, capsys):
    found = script(static(folder, capsys, "https://files.example", "--account=member"))
    assert found.startswith("#!/bin/sh\n")
    subprocess.run(["shellcheck", "-s", "sh", "-"], input=found, text=True, check=True)


def test_an_instance_enrols_by_what_is_on_its_drive(folder, capsys, server):
    made = static(folder, capsys, server, "--account=member", "--account=there")
    done = run(folder, made)
    assert done.returncode == 0, done.stderr
    assert (folder / "out/called").read_text().startswith("enrol --vendordata ")
    assert json.loads((folder / "out/told").read_text()) == {"tatu": "of the drive"}
    assert (folder / "out/accounts").read_text().splitlines() == [
        "groupadd --system tatu",
        "useradd --create-home --gid tatu member",
    ]
    assert (folder / "agent").stat().st_mode & 0o777 == 0o755


def test_another_file_than_the_operators_is_not_run(folder, capsys, server):
    made = static(folder, capsys, server)
    (folder / "web/tatu-agent").write_text("#!/bin/sh\nexit 0\n")
    assert run(folder, made).returncode != 0
    assert not (folder / "agent").exists()
    assert not list((folder / "out").iterdir())


def test_http_beyond_the_machine_is_allowed_only_where_the_operator_said_so(folder, capsys):
    secure = script(static(folder, capsys, "https://files.example"))
    local = static(folder, capsys, "https://files.example", endpoint="http://127.0.0.1:8322")
    assert "--insecure-http" not in secure
    assert "--insecure-http" in script(local)


@pytest.mark.parametrize(
    "words", [["--account=root"], ["--account=a b"], ["--account=$(id)"], ["--agent=/none"]]
)
def test_what_is_no_account_or_no_file_is_refused(folder, capsys, words):
    static(folder, capsys, "https://files.example", *words, code=2)


def test_an_address_of_the_agent_is_only_a_word_to_the_shell(folder, capsys):
    found = script(static(folder, capsys, "https://files.example/'$(touch x)'"))
    (line,) = (line for line in found.splitlines() if line.startswith("AGENT_URL="))
    shown = subprocess.run(
        ["sh", "-c", f'{line}; echo "$AGENT_URL"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "https://files.example/'$(touch x)'/tatu-agent\n"
