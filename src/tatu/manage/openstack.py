"""`tatu-manage openstack`: what a cloud must know of Tatu, and Tatu of the cloud (S21)."""

import argparse
import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tatu import bootstrap
from tatu.core import own
from tatu.core.errors import Malformed, Unavailable

if TYPE_CHECKING:
    from tatu.bootstrap import Registered

_MODE = 0o600

Sections = Mapping[str, Mapping[str, str]]


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "register",
        help="make Tatu's service, endpoints, users and roles, and write what they sign in with",
        description="Makes what the cloud that OS_CLOUD or the OS_ variables name does not have"
        " yet, as its administrator: the service of type ssh, its endpoints, Tatu's own user"
        " (reader of the system), the user by which Nova asks for vendordata, and their roles."
        " Writes two files for their owner's eyes alone. May be run again.",
    )
    command.add_argument(
        "--endpoint", required=True, metavar="URL", help="Tatu's URL as the catalog shall tell it"
    )
    command.add_argument("--region", default="RegionOne", help="(default: %(default)s)")
    command.add_argument(
        "--project", default="service", help="project of the users (default: %(default)s)"
    )
    command.add_argument(
        "--domain", default="Default", help="domain of project and users (default: %(default)s)"
    )
    command.add_argument(
        "--tatu-file",
        type=Path,
        default=Path("/etc/tatu/tatu.conf.d/openstack.conf"),
        metavar="FILE",
        help="configuration for Tatu to write (default: %(default)s)",
    )
    command.add_argument(
        "--nova-file",
        type=Path,
        default=Path("/etc/tatu/nova-vendordata.conf"),
        metavar="FILE",
        help="configuration for Nova to write: to be included in nova.conf (default: %(default)s)",
    )
    command.add_argument(
        "--new-passwords",
        action="store_true",
        help="also replace passwords that are not in these files, or do not sign in any more",
    )
    command.set_defaults(run=_register)


def _register(parsed: argparse.Namespace) -> int:
    """Register, and write down what is to be kept; 1 when a password stays unknown."""
    url = urlsplit(parsed.endpoint)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise Malformed("--endpoint is an http(s) URL")
    known = {
        own.USER: _password(parsed.tatu_file, "identity_keystone"),
        own.VENDORDATA_USER: _password(parsed.nova_file, "vendordata_dynamic_auth"),
    }
    for file in (parsed.tatu_file, parsed.nova_file):
        _check_writable(file.parent)
    done = bootstrap.register(
        endpoint=parsed.endpoint.rstrip("/"),
        region=parsed.region,
        project=parsed.project,
        domain=parsed.domain,
        known={user: password for user, password in known.items() if password},
        renew=parsed.new_passwords,
        keep=lambda done: _keep(done, parsed),
    )
    if not done.changes:
        print("all is there already")
    for service, section in (("compute", "inventory"), ("key-manager", "keystore")):
        if service not in done.services:
            print(
                f"the catalog has no {service}: no [{section}] written. Register again when it has"
            )
    unknown = {own.USER: parsed.tatu_file, own.VENDORDATA_USER: parsed.nova_file}
    for user in done.passwords:
        del unknown[user]
    for user, file in unknown.items():
        print(
            f"the password of {user} is not known here, and {file} is left as it is: copy the"
            " file that has it, or run again with --new-passwords, which replaces both"
        )
    return int(bool(unknown))


def _keep(done: "Registered", parsed: argparse.Namespace) -> None:
    for change in done.changes:
        print(f"made {change}")
    for user, file, sections in (
        (own.USER, parsed.tatu_file, _for_tatu(done, parsed)),
        (own.VENDORDATA_USER, parsed.nova_file, _for_nova(done, parsed)),
    ):
        if user in done.passwords:
            _write(file, sections)
            print(f"wrote {file}")


def _for_tatu(done: "Registered", parsed: argparse.Namespace) -> Sections:
    user = {
        "auth_url": done.auth_url,
        "username": own.USER,
        "password": done.passwords.get(own.USER, ""),
    }
    domain = {"user_domain_name": parsed.domain}
    in_project = {"project_name": parsed.project, "project_domain_name": parsed.domain}
    sections: dict[str, Mapping[str, str]] = {
        "identity": {"driver": "keystone"},
        "identity_keystone": {
            "auth_type": "password",
            **user,
            **domain,
            "system_scope": "all",
        },
    }
    if "compute" in done.services:
        sections["inventory"] = {"driver": "nova"}
        sections["inventory_nova"] = {
            "auth_type": "password",
            **user,
            **domain,
            **in_project,
            "region_name": parsed.region,
        }
    if "key-manager" in done.services:
        sections["keystore"] = {"driver": "castellan"}
        sections["key_manager"] = {
            "backend": "barbican",
            "auth_type": "keystone_password",
            **user,
            **domain,
            "project_name": own.KEYS_PROJECT,
            "project_domain_name": parsed.domain,
        }
        sections["barbican"] = {
            "auth_endpoint": done.auth_url,
            "barbican_region_name": parsed.region,
        }
    return sections


def _for_nova(done: "Registered", parsed: argparse.Namespace) -> Sections:
    return {
        "vendordata_dynamic_auth": {
            "auth_type": "password",
            "auth_url": done.auth_url,
            "username": own.VENDORDATA_USER,
            "password": done.passwords.get(own.VENDORDATA_USER, ""),
            "user_domain_name": parsed.domain,
            "project_name": parsed.project,
            "project_domain_name": parsed.domain,
        }
    }


def _password(file: Path, section: str) -> str | None:
    """Return the password that an earlier run wrote, if it did."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{file} cannot be read") from error
    except configparser.Error:
        raise Malformed(f"{file} is no configuration file") from None  # its text has the password
    found = parser.get(section, "password", fallback=None)
    return None if found is None else found.replace("$$", "$")


def _check_writable(folder: Path) -> None:
    """Refuse before anything is made: the password of a user who was made is told once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise Unavailable(f"{folder} cannot be written: run as root, or name other files")


def _write(file: Path, sections: Sections) -> None:
    """Put a file in place, never for others to read, not even while it is being written."""
    lines = ["# written by tatu-manage openstack register"]
    for name, options in sections.items():
        lines += ["", f"[{name}]"]
        # oslo.config reads `$word` in a value as another option
        lines += [f"{option} = {value.replace('$', '$$')}" for option, value in options.items()]
    new = file.with_name(f".{file.name}.new")
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "w") as opened:
            opened.write("\n".join(lines) + "\n")
        new.replace(file)
    except OSError as error:
        raise Unavailable(
            f"{file} cannot be written: {error.strerror}; its password is lost: mend that, and"
            " run again with --new-passwords"
        ) from error
