"""Signing in and out."""

import argparse
from typing import Any

from tatu.cli.base import Command, ShowOne, shown
from tatu.core.errors import Malformed, TatuError, Unauthenticated

_WHO = ("cloud", "url", "user", "subject", "project", "roles", "expires_at")


class Login(ShowOne):
    """Sign in to a cloud with an SSH key."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add what a new cloud needs; a saved one needs nothing."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--url",
            help="Tatu's URL: saves a new cloud, called as `--cloud NAME` says, else as its host;"
            " or changes a saved one",
        )
        parser.add_argument("--user", metavar="NAME", help="who you are there")
        parser.add_argument("--project", metavar="NAME", help="the project to work in")
        parser.add_argument(
            "--key",
            metavar="FILE|agent:FINGERPRINT",
            help="the key to sign in with (default: ssh's own default files, then ssh-agent)",
        )
        parser.add_argument(
            "--agent",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="keep the key that is certified in ssh-agent only, as long as its certificate",
        )
        parser.add_argument(
            "--insecure-http",
            action="store_true",
            help="let the token travel to other machines by plain http",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Sign in, and save the cloud when that worked."""
        from dataclasses import replace  # noqa: PLC0415

        from tatu.client import clouds  # noqa: PLC0415 -- help loads no HTTP
        from tatu.client.connection import KeyConnection  # noqa: PLC0415

        cloud = _asked(self.app.client_manager.cloud, parsed_args)
        old = clouds.listed().get(cloud.name)
        if old and (old.url, old.user) != (cloud.url, cloud.user):
            self.app.stderr.write(
                f"this replaces the saved cloud {old.name} ({old.user} at {old.url}):"
                " `--cloud NAME` saves it beside\n"
            )
        connection = KeyConnection.new(cloud)
        before = connection.state.session()
        session = connection.sign_in()
        if before and (before.subject, before.project) != (session.subject, session.project):
            # the certificate is somebody else's
            connection.state.forget()
            connection.state.keep_session(session)
        # asked for by name: what is there now is what may not change from here on
        connection.state.dns_suffix(session.project).unlink(missing_ok=True)
        plugin = connection.plugin
        clouds.save(replace(cloud, deployment=plugin.deployment, project_id=plugin.project_id))
        return _who(connection)


class Logout(Command):
    """End the sign-in and forget the token, the certificate and its key."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Forget all that lets anybody in, even when the server does not answer."""
        from tatu.client import clouds  # noqa: PLC0415
        from tatu.client.connection import KeyConnection  # noqa: PLC0415
        from tatu.client.state import State  # noqa: PLC0415

        cloud = clouds.find(self.app.client_manager.cloud)
        state = State.of(cloud.folder)
        try:
            session = state.session()
            if session is not None and not session.has_ended():
                KeyConnection.open(cloud).api.end_token()
        except Unauthenticated:
            pass  # it has ended already
        except TatuError as error:
            self.app.stderr.write(f"{error}; the token ends by itself within the hour\n")
        finally:
            state.forget()


class Whoami(ShowOne):
    """Show who you are to the cloud."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Ask the server."""
        return _who(self.connection)


def _who(connection: Any) -> tuple[tuple[str, ...], list[object]]:
    who, cloud = connection.api.whoami(), connection.cloud
    roles = [role.name for role in who.roles]
    facts = (cloud.name, cloud.url, who.name, who.subject, who.project, roles, who.expires_at)
    return _WHO, [shown(fact) for fact in facts]


def _asked(name: str | None, args: argparse.Namespace) -> Any:
    """Return the cloud to sign in to: the saved one, with what was given in its place."""
    from dataclasses import replace  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    from tatu.client import clouds, signing  # noqa: PLC0415

    key = signing.reference(args.key) if args.key else None
    if args.url is None:
        cloud = clouds.find(name)
        given = {"user": args.user, "project": args.project, "key": key, "agent": args.agent}
        if args.insecure_http:
            given["insecure_http"] = True
        return replace(
            cloud, **{name: value for name, value in given.items() if value is not None}
        )
    clouds.check_url(args.url, insecure_http=args.insecure_http)
    saved = clouds.listed()
    wanted = name or _same(saved, args.url) or (urlsplit(args.url).hostname or "")
    old = saved.get(wanted)
    user, project = args.user or (old and old.user), args.project or (old and old.project)
    if not user or not project:
        raise Malformed("a new cloud needs --url, --user and --project")
    return clouds.Cloud(
        name=wanted.replace(":", "-"),
        url=args.url,
        user=user,
        project=project,
        key=key or (old.key if old else signing.default()),
        agent=bool(old and old.agent) if args.agent is None else args.agent,
        insecure_http=args.insecure_http,
    )


def _same(saved: dict[str, Any], url: str) -> str | None:
    return next((name for name, cloud in saved.items() if cloud.url == url), None)
