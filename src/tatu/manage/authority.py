"""`tatu-manage authority`: the keys of authorities, from the machine itself."""

import argparse

from tatu.bootstrap import Application
from tatu.core.authority import Authority, KeyState, Purpose
from tatu.core.errors import TatuError
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


def _publish(application: Application, authority: Authority) -> None:
    """Let hosts know now; the change stands also when no statement can be signed."""
    try:
        application.statements.newest(authority.id)
    except TatuError as error:
        print(f"warning: hosts are not told yet: {error}")


def _id(application: Application, project: str) -> str:
    if application.administration is None:
        return project
    return application.ledger.directory.project(project).id


def _tell(authority: Authority) -> None:
    print(f"authority {authority.id} ({authority.name})")
    for key in authority.keys:
        state = "revoked" if key.revoked_at else key.state
        print(f"  {key.purpose:<9} {state:<8} {key.public_key.fingerprint}")
