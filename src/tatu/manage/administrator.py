"""`tatu-manage bootstrap`: the first administrator, with project, roles and authority."""

import argparse
import uuid
from pathlib import Path

from tatu.bootstrap import Application
from tatu.core.errors import Malformed, NotFound
from tatu.core.identity import Role
from tatu.core.keys import PublicKey
from tatu.manage import opening
from tatu.ports import Assignment, Project, User
from tatu.service.signin import ADMINISTRATOR

ROLES = (ADMINISTRATOR, "manager", "member", "reader")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser.add_argument("--admin", required=True, metavar="NAME", help="the user's name")
    parser.add_argument("--project", required=True, metavar="NAME", help="the project's name")
    parser.add_argument(
        "--key",
        required=True,
        type=Path,
        metavar="FILE",
        help="public key with which the administrator signs in",
    )
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> None:
    try:
        public_key = PublicKey.parse(parsed.key.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{parsed.key} is no public key that can be read") from error
    with opening.application(parsed) as application:
        _Bootstrap(application).run(parsed.admin, parsed.project, public_key)


class _Bootstrap:
    """Makes what is not there yet, and says so; what is there stays as it is."""

    def __init__(self, application: Application) -> None:
        if application.administration is None:
            raise Malformed("[identity] driver is not local: administrators come from elsewhere")
        self._application = application
        self._administration = application.administration
        self._directory = application.ledger.directory
        self._operator = opening.operator(application)

    def run(self, admin: str, project_name: str, public_key: PublicKey) -> None:
        """Make all of it; may be run again."""
        roles = {name: self._role(name) for name in ROLES}
        project = self._project(project_name)
        user = self._user(admin)
        self._key(user, public_key)
        self._assign(Assignment(project=project.id, role=roles[ADMINISTRATOR].id, user=user.id))
        self._authority(project)
        self._application.checkpoints.sign()  # makes the audit key, so that every backup has it

    def _role(self, name: str) -> Role:
        try:
            return self._directory.role(name)
        except NotFound:
            role = Role(id=uuid.uuid4().hex, name=name)
        self._administration.create_role(self._operator, role, request_id="")
        _told("role", name)
        return role

    def _project(self, name: str) -> Project:
        try:
            return self._directory.project(name)
        except NotFound:
            project = Project(id=uuid.uuid4().hex, name=name)
        self._administration.create_project(self._operator, project, request_id="")
        _told("project", name)
        return project

    def _user(self, name: str) -> User:
        try:
            return self._directory.user(name)
        except NotFound:
            user = User(id=uuid.uuid4().hex, name=name)
        self._administration.create_user(self._operator, user, request_id="")
        _told("user", name)
        return user

    def _key(self, user: User, public_key: PublicKey) -> None:
        if public_key in [key.public_key for key in self._directory.keys(user.id)]:
            return
        self._administration.add_key(self._operator, user.id, public_key, request_id="")
        _told("key", public_key.fingerprint)

    def _assign(self, assignment: Assignment) -> None:
        found = self._directory.assignments(
            project=assignment.project, user=assignment.user, group=None
        )
        if assignment in found:
            return
        self._administration.assign(self._operator, assignment, request_id="")
        _told("assignment", ADMINISTRATOR)

    def _authority(self, project: Project) -> None:
        try:
            self._application.ledger.authorities.get(project.id)
        except NotFound:
            self._application.authorities.create(
                self._operator, project.id, project.name, request_id=""
            )
            _told("authority", project.name)


def _told(kind: str, name: str) -> None:
    print(f"made {kind} {name}")
