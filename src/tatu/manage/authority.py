"""`tatu-manage authority`: the keys of authorities, from the machine itself."""

import argparse

from tatu.bootstrap import Application
from tatu.core.authority import Authority, KeyState, Purpose
from tatu.core.errors import Conflict, Malformed, NotFound, TatuError
from tatu.manage import opening


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("show", help="show an authority's keys")
    command.add_argument("authority", metavar="PROJECT", help="id or name of its project")
    command.set_defaults(run=_show)
    command = commands.add_parser(
        "rotate",
        help="add the next key; run again, when all hosts have learnt of it, make it active",
    )
    command.add_argument(
        "--at-once",
        action="store_true",
        help="do not wait until hosts have learnt of it: what it signs they refuse until then,"
        " and after a statement key that they missed they must enrol again",
    )
    command.add_argument("authority", metavar="PROJECT", help="id or name of its project")
    command.add_argument("purpose", choices=[str(purpose) for purpose in Purpose])
    command.set_defaults(run=_rotate)
    command = commands.add_parser(
        "revoke-key", help="revoke a key that no longer signs: all that it signed is dead"
    )
    command.add_argument("authority", metavar="PROJECT", help="id or name of its project")
    command.add_argument("fingerprint", metavar="SHA256:…")
    command.set_defaults(run=_revoke_key)
    command = commands.add_parser(
        "destroy-keys",
        help="destroy the private keys of a retired authority, for ever: its hosts are told"
        " nothing any more",
    )
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    command.add_argument("authority", metavar="PROJECT", help="id or name of its project")
    command.set_defaults(run=_destroy_keys)


def _show(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        _tell(application.authorities.show(_id(application, parsed.authority)))


def _rotate(parsed: argparse.Namespace) -> None:
    purpose = Purpose(parsed.purpose)
    with opening.application(parsed) as application:
        authority = application.authorities.show(_id(application, parsed.authority))
        operator = opening.operator(application, authority.id)
        for key in authority.keys:
            if key.purpose is purpose and key.state is KeyState.NEXT:
                fingerprint = key.public_key.fingerprint
                changed = application.authorities.change_key(
                    operator,
                    authority.id,
                    fingerprint,
                    KeyState.ACTIVE,
                    at_once=parsed.at_once,
                    request_id="",
                )
                break
        else:
            changed = application.authorities.add_key(
                operator, authority.id, purpose, request_id=""
            )
        _publish(application, authority)
    _tell(changed)


def _revoke_key(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        authority = application.authorities.show(_id(application, parsed.authority))
        changed = application.authorities.change_key(
            opening.operator(application, authority.id),
            authority.id,
            parsed.fingerprint,
            KeyState.RETIRED,
            revoked=True,
            request_id="",
        )
        _publish(application, authority)
    _tell(changed)


def _destroy_keys(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        authority = application.authorities.show(_id(application, parsed.authority))
        left = application.authorities.kept_keys(authority.id)
        if not left:
            print(f"no key of authority {authority.id} is left")
            return
        if not parsed.yes:
            _confirm(authority, len(left))
        operator = opening.operator(application, authority.id)
        count = application.authorities.destroy_keys(operator, authority.id)
    print(f"destroyed {count} keys of authority {authority.id}")
    print("restart tatu-api wherever it runs: what it has opened stays in its memory until then")


def _confirm(authority: Authority, count: int) -> None:
    print(f"This destroys {count} private keys of authority {authority.id} ({authority.name}).")
    print("Hosts that trust it are told nothing any more, not even what is revoked.")
    try:
        answer = input("Its id, to go on: ")
    except EOFError as error:
        raise Malformed("nobody is there to confirm it: give --yes") from error
    if answer.strip() != authority.id:
        raise Conflict("that is another id: nothing was destroyed")


def _publish(application: Application, authority: Authority) -> None:
    """Let hosts know now; the change stands also when no statement can be signed."""
    try:
        application.statements.newest(authority.id)
    except TatuError as error:
        print(f"warning: hosts are not told yet: {error}")


def _id(application: Application, project: str) -> str:
    if application.administration is None:
        return project
    try:
        return application.ledger.directory.project(project).id
    except NotFound:
        return project  # a retired authority's project is gone: its id is all that is left


def _tell(authority: Authority) -> None:
    retired = ", retired" if authority.retired_at else ""
    print(f"authority {authority.id} ({authority.name}){retired}")
    for key in authority.keys:
        state = "revoked" if key.revoked_at else key.state
        print(f"  {key.purpose:<9} {state:<8} {key.public_key.fingerprint}")
