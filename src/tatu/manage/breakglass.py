"""`tatu-manage breakglass`: ways in that need nothing of Tatu (security.md S20).

Neither configuration nor database nor network: it runs on the machine that has the offline key.
ssh-keygen signs, for it opens every kind of key, those of hardware too.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tatu.client import files, signing
from tatu.client.signing import FileKey
from tatu.core import breakglass
from tatu.core.authority import BACKDATE
from tatu.core.certificate import Certificate
from tatu.core.errors import Conflict, Denied
from tatu.core.keys import PublicKey
from tatu.core.policy import network

ACCOUNT = "breakglass"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "create-key", help="make a break-glass authority; a passphrase is asked for"
    )
    command.add_argument("file", type=Path, metavar="FILE", help="a new file, and FILE.pub")
    command.add_argument(
        "--without-passphrase", action="store_true", help="for a key that is sealed otherwise"
    )
    command.set_defaults(run=_create_key)
    command = commands.add_parser("certify", help="print a certificate that opens every host")
    command.add_argument("key", type=Path, metavar="PUBLIC_KEY", help="file with whom to let in")
    command.add_argument(
        "--authority",
        required=True,
        metavar="KEY",
        help="private key file, or agent:FINGERPRINT for one in ssh-agent",
    )
    command.add_argument(
        "--source-address",
        required=True,
        action="append",
        metavar="NETWORK",
        help="from where they come, an address or CIDR network; may be repeated",
    )
    command.add_argument(
        "--key-id", required=True, metavar="TEXT", help="who, and why: it is in every host's log"
    )
    command.add_argument(
        "--minutes", type=int, default=60, metavar="NUMBER", help="how long; 60, at most 235"
    )
    command.add_argument(
        "--account", default=ACCOUNT, metavar="NAME", help="[statement] break_glass_account"
    )
    command.set_defaults(run=_certify)


def _create_key(parsed: argparse.Namespace) -> None:
    path: Path = parsed.file
    if path.exists() or Path(f"{path}.pub").exists():
        raise Conflict(f"{path} is there already")
    if not parsed.without_passphrase and not _at_terminal():
        # ssh-keygen would take what it cannot ask for as an empty one
        raise Denied("there is no terminal to ask for a passphrase at (--without-passphrase)")
    passphrase = ["-N", ""] if parsed.without_passphrase else []
    _keygen(["-t", "ed25519", "-f", path, "-C", "break-glass", *passphrase])
    print(
        f"made {path}: keep it off every machine of the deployment, and a copy elsewhere\n"
        f"put {path}.pub on the API's machines, as [statement] break_glass_authorities"
    )


def _certify(parsed: argparse.Namespace) -> None:
    subject = PublicKey.parse(files.read(parsed.key))
    sources = ",".join(str(network(text)) for text in parsed.source_address)
    options = "clear", "permit-pty", "permit-port-forwarding", f"source-address={sources}"
    authority = signing.find(parsed.authority)
    backdate = int(BACKDATE.total_seconds())
    with tempfile.TemporaryDirectory() as folder:
        public, signer = Path(folder, "subject.pub"), Path(folder, "authority.pub")
        public.write_text(f"{subject}\n")
        signer.write_text(f"{authority.public_key}\n")
        # an agent is told by the public half which of its keys is meant
        key = [authority.path] if isinstance(authority, FileKey) else [signer, "-U"]
        _keygen(
            [
                *("-s", *key),
                *("-I", parsed.key_id, "-n", parsed.account),
                *("-z", str(secrets.randbelow(2**63 - 1) + 1)),
                *("-V", f"-{backdate}s:+{parsed.minutes * 60}s"),
                *(word for option in options for word in ("-O", option)),
                public,
            ]
        )
        certificate = Certificate.parse(files.read(Path(folder, "subject-cert.pub")))
    breakglass.check(certificate)
    print(certificate)


def _keygen(arguments: Sequence[str | Path]) -> None:
    """Run ssh-keygen, which asks for a passphrase or a touch at a terminal and nowhere else."""
    at_terminal = _at_terminal()
    done = subprocess.run(
        ["ssh-keygen", "-q", *arguments],
        stdin=None if at_terminal else subprocess.DEVNULL,
        stderr=None if at_terminal else subprocess.PIPE,
        env=os.environ if at_terminal else {**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
        # away from any terminal there is none to ask at
        start_new_session=not at_terminal,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or "").strip().splitlines()
        raise Denied(": ".join(["ssh-keygen did not do it", *said[-1:]]))


def _at_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
