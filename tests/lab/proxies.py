"""The proxies that guides write down: run as they stand there, but for ports and files."""

import contextlib
import re
import subprocess
import time
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = {"haproxy": ["haproxy", "-db", "-f"], "nginx": ["nginx", "-g", "daemon off;", "-c"]}

_START = 30.0
_WHOLE = {
    # of what a distribution's file has around what a guide says
    "nginx": """\
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{text}
}}
""",
    "haproxy": """\
defaults
    log stdout format raw daemon
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{text}
""",
}
_LISTENING = {"nginx": r"(listen )(\d+)", "haproxy": r"(bind )[^:\s]*:(\d+)"}


def told(guide, kind):
    """Return what a guide says of a kind of proxy, all of it."""
    text = (DOCS / guide).read_text()
    return "\n".join(re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@contextlib.contextmanager
def running(kind, text, folder, instead, ready):
    """Run a proxy by a text in which these ports and files stand instead, until `ready()` holds and the block ends.

    It listens on the loopback alone.
    """
    folder.mkdir()
    for name, ours in instead.items():
        text = re.sub(rf"(?<![\w.]){re.escape(str(name))}\b", str(ours), text)
    text = re.sub(_LISTENING[kind], r"\g<1>127.0.0.1:\2", text)
    file = folder / "proxy.conf"
    # two sections of defaults were one too many
    whole = "{text}" if "defaults\n" in text else _WHOLE[kind]
    file.write_text(whole.format(folder=folder, text=text))
    with (folder / "proxy.log").open("wb") as log:
        proxy = subprocess.Popen([*COMMANDS[kind], file], stdout=log, stderr=log)
    try:
        until = time.monotonic() + _START
        while not ready():
            assert proxy.poll() is None, (folder / "proxy.log").read_text()
            assert time.monotonic() < until, (folder / "proxy.log").read_text()
            time.sleep(0.02)
        yield proxy
    finally:
        proxy.terminate()
        proxy.wait(_START)
