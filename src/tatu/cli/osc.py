"""The plugin of `openstack`: the commands of `tatu` about projects as `openstack ssh …`."""

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tatu.client.openstack import OpenStackConnection

API_NAME = "ssh"
API_VERSION_OPTION = "os_ssh_api_version"
API_VERSIONS = ("2",)
DEFAULT_API_VERSION = "2"


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add our options to those that every command of `openstack` takes."""
    parser.add_argument(
        "--os-ssh-api-version",
        metavar="<ssh-api-version>",
        default=os.environ.get("OS_SSH_API_VERSION"),
        help=f"SSH API version, default={DEFAULT_API_VERSION} (Env: OS_SSH_API_VERSION)",
    )
    parser.add_argument(
        "--os-ssh-endpoint-override",
        metavar="<url>",
        default=os.environ.get("OS_SSH_ENDPOINT_OVERRIDE"),
        help="URL of Tatu, in place of the catalog's (Env: OS_SSH_ENDPOINT_OVERRIDE)",
    )
    return parser


def make_client(instance: Any) -> "OpenStackConnection":
    """Return what the commands work with, as the client manager of `tatu` does."""
    from tatu.client.openstack import OpenStackConnection, Place  # noqa: PLC0415 -- loads HTTP

    configuration = instance.get_configuration()
    place = Place(
        region=instance.region_name,
        interface=instance.interface,
        override=configuration.get("ssh_endpoint_override"),
    )
    return OpenStackConnection(instance.session, place, configuration.get("cloud"))
