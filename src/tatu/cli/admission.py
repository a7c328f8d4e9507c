"""What a host is admitted as, on the command line."""

import argparse


def add_host(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options that say which host, and what it is called."""
    parser.add_argument("host", help="the host's id: the cloud's instance id, or a name")
    parser.add_argument("--name", action="append", default=[], help="a host name it has")
    parser.add_argument("--address", action="append", default=[], help="an address it has")
    return parser


def host_facts(args: argparse.Namespace) -> dict[str, object]:
    """Return what was said of the host; what was not a known host keeps."""
    facts: dict[str, object] = {"host": args.host}
    if args.name:
        facts["names"] = args.name
    if args.address:
        facts["addresses"] = args.address
    return facts
