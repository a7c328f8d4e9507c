"""`tatu-manage`: what an operator does beside the API.

One module per group of commands; only the one that is asked for is imported.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from tatu.core.errors import Malformed, TatuError

GROUPS = {
    "db": ("database", "the ledger's database: make, check, back up, after a restore"),
    "bootstrap": ("administrator", "make the first administrator, project and authority"),
    "keystore": ("keystore", "key-encryption keys of the embedded key store"),
    "authority": ("authority", "rotate or revoke an authority's keys"),
    "audit": ("audit", "verify, export and sign the audit chain"),
    "vendordata": ("vendordata", "what Nova hands to every instance"),
    "breakglass": ("breakglass", "certificates that open hosts while all of Tatu is away"),
    "reconcile": ("reconcile", "compare the ledger with the cloud, and mend what it missed"),
    "brake": ("brake", "losses that were found by comparing, too many to be believed at once"),
    "check": ("check", "tell whether everything is as it should be"),
    "config": ("samples", "print sample files"),
    "openstack": ("openstack", "register with an OpenStack cloud"),
}

_CODES = """\
exit codes: 0 done, and all is well; 1 it failed, or something is wrong; 2 the command line or the
configuration is wrong.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser(given).parse_args(given)
    try:
        code: int | None = parsed.run(parsed)
    except TatuError as error:
        sys.stderr.write(f"tatu-manage: {error}\n")
        return 2 if isinstance(error, Malformed) else 1
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        return 1
    return code or 0


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tatu-manage",
        description="Manages a Tatu deployment on the machine where it runs.",
        epilog=_CODES,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('tatu')}")
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="configuration file, may be repeated (default: /etc/tatu/tatu.conf)",
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder of configuration files (default: /etc/tatu/tatu.conf.d)",
    )
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    for group, (module, does) in GROUPS.items():
        subparser = groups.add_parser(group, help=does, description=f"{does}.", epilog=_CODES)
        if group in given:
            importlib.import_module(f"tatu.manage.{module}").add_to(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
