"""`tatu-manage vendordata`: what Nova gives every instance, the same for all (S17).

It is a script, and the cloud's operator puts it in place: what Tatu answers Nova is data.
"""

import argparse
import hashlib
import json
import re
import shlex
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from tatu import bootstrap
from tatu.config import METADATA
from tatu.core import carried
from tatu.core.errors import Malformed
from tatu.manage import opening

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._-]+")
_BOUNDARY = "tatu-vendordata"
_NAME = "tatu-enrol"
"""A name of its own: cloud-init keeps nameless parts by number, users' over ours."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "static",
        help="print the file for Nova's vendordata_jsonfile_path",
        description="Prints the file for Nova's vendordata_jsonfile_path. By it cloud-init"
        " installs the agent in each new instance, where it enrols by what Tatu answers Nova"
        " (vendordata_dynamic_targets = tatu@URL/v2/vendordata/nova), and keeps sshd in step."
        " The file names one agent, which the API must go on serving: see [agent] directory.",
    )
    command.add_argument(
        "--agent",
        type=Path,
        metavar="FILE",
        help="the agent that instances run, and no other; without it, this version's as it is"
        " packed here",
    )
    command.add_argument(
        "--agent-url",
        metavar="URL",
        help="where instances get it; without it, from the API, by its digest",
    )
    command.add_argument(
        "--ca-file",
        metavar="FILE",
        help="on instances: whom they trust for the API's TLS instead of the system's authorities",
    )
    command.set_defaults(run=_static)


def _static(parsed: argparse.Namespace) -> None:
    config = opening.configuration(parsed)
    url = config.vendordata.api_endpoint_for_vms
    plain = urlsplit(url)
    by_platform = plain.hostname == METADATA  # which the agent knows
    if parsed.agent is None:
        digest = bootstrap.agents(config)[0].digest
    else:
        try:
            digest = hashlib.sha256(parsed.agent.read_bytes()).hexdigest()
        except OSError as error:
            raise Malformed(f"{parsed.agent} cannot be read: {error.strerror}") from error
    path = f"/v2/agent/{digest}"
    if by_platform:
        path = carried.url({"method": "GET", "path": path})
    agent_url = parsed.agent_url or url + path
    if urlsplit(agent_url).scheme not in {"http", "https"}:
        raise Malformed("--agent-url is an http(s) URL")
    if parsed.ca_file and not _PLAIN_PATH.fullmatch(parsed.ca_file):
        raise Malformed("--ca-file is the path of a file on instances, without blanks")
    options = ["--insecure-http"] if plain.scheme == "http" and not by_platform else []
    if parsed.ca_file:
        options.append(f"--ca-file={parsed.ca_file}")
    settings = {
        "AGENT_URL": agent_url,
        "AGENT_SHA256": digest,
        "IS_CARRIED": "yes" if by_platform and not parsed.agent_url else "",
        "CA_FILE": parsed.ca_file or "",
        "OPTIONS": " ".join(options),
    }
    print(json.dumps({"cloud-init": _message(_script(settings))}))


def _script(settings: dict[str, str]) -> str:
    """Return the script, told what it needs after its first line."""
    first, _, rest = files("tatu.manage").joinpath("enrol.sh").read_text("ascii").partition("\n")
    told = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    return "\n".join([first, *told, rest])


def _message(script: str) -> str:
    """Wrap the script as cloud-init expects several parts, so that it has a name."""
    part = MIMEText(script, "x-shellscript", "us-ascii")
    part.add_header("Content-Disposition", "attachment", filename=_NAME)
    return MIMEMultipart(boundary=_BOUNDARY, _subparts=[part]).as_string()
