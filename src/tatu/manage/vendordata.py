"""`tatu-manage vendordata`: what Nova gives every instance, the same for all (S17).

It is a script, and the cloud's operator puts it in place: what Tatu answers Nova is data.
"""

import argparse
import hashlib
import json
import shlex
import sys
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

from tatu.core import accounts
from tatu.core.errors import Malformed
from tatu.manage import opening

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
        " (vendordata_dynamic_targets = tatu@URL/v2/vendordata/nova), and keeps sshd in step.",
    )
    command.add_argument(
        "--agent-url", required=True, metavar="URL", help="where instances get the agent"
    )
    command.add_argument(
        "--agent",
        required=True,
        type=Path,
        metavar="FILE",
        help="that agent: instances run no other than this very file",
    )
    command.add_argument(
        "--account",
        action="append",
        default=[],
        metavar="NAME",
        help="account to make for a role that opens it, may be repeated",
    )
    command.set_defaults(run=_static)


def _static(parsed: argparse.Namespace) -> None:
    url = opening.configuration(parsed).vendordata.api_endpoint_for_vms
    if urlsplit(parsed.agent_url).scheme not in {"http", "https"}:
        raise Malformed("--agent-url is an http(s) URL")
    for account in parsed.account:
        if reason := accounts.refusal(account):
            raise Malformed(f"--account {account}: {reason}")
    if not parsed.account:
        sys.stderr.write(
            "warning: without --account only accounts that images have in the group tatu open\n"
        )
    try:
        digest = hashlib.sha256(parsed.agent.read_bytes()).hexdigest()
    except OSError as error:
        raise Malformed(f"{parsed.agent} cannot be read: {error.strerror}") from error
    settings = {
        "AGENT_URL": parsed.agent_url,
        "AGENT_SHA256": digest,
        "ACCOUNTS": " ".join(parsed.account),
        "OPTIONS": "--insecure-http" if urlsplit(url).scheme == "http" else "",
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
