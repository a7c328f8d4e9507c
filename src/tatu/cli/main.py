"""The command `tatu`; what a login waits for is done before anything large is loaded."""

import sys

from tatu.client import ready


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status (docs/man/tatu.1.md)."""
    arguments = sys.argv[1:] if argv is None else argv
    cloud, rest = _cloud_and_rest(arguments)
    match rest:
        case ["ssh", target, *more] if not target.startswith("-") and more[:1] in ([], ["--"]):
            login = ready.short_way(cloud, target, more[1:]) or (
                ready.take_turn(cloud) and ready.short_way(cloud, target, more[1:])
            )
            if login:
                ready.become_ssh(login)
        case ["ssh-config", "refresh"]:
            if ready.nothing_is_due(cloud) or (
                ready.take_turn(cloud) and ready.nothing_is_due(cloud)
            ):
                return 0
    from tatu.cli import app  # noqa: PLC0415 -- a quarter of a second

    return app.run(arguments)


def _cloud_and_rest(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Take `--cloud NAME` off, before or after the command, as far as it needs no parser."""
    match arguments:
        case ["--cloud", name, *rest]:
            return name, rest
        case ["ssh-config", "refresh", "--cloud", name]:
            return name, arguments[:2]
        case ["ssh", "--cloud", name, *rest]:
            return name, ["ssh", *rest]
    return None, arguments
