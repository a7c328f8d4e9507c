"""What user and host certificates have in common on the command line."""

import argparse
from collections.abc import Iterable

COLUMNS = (
    "serial",
    "key_id",
    "principals",
    "valid_after",
    "valid_before",
    "subject_key",
    "revoked_at",
    "revoked_reason",
)


def add_filters(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the filters of both lists."""
    parser.add_argument("--authority", metavar="ID", help="of this authority")
    parser.add_argument("--subject-key", metavar="FINGERPRINT", help="for this key")
    parser.add_argument(
        "--live", action="store_const", const="true", help="only those valid and not revoked"
    )
    parser.add_argument("--revoked", action="store_const", const="true", help="only the revoked")
    return parser


def filters(args: argparse.Namespace, more: Iterable[str]) -> dict[str, str]:
    """Return the filters that were given."""
    names = ("authority", "subject_key", "live", "revoked", *more)
    return {name: value for name in names if (value := getattr(args, name)) is not None}
