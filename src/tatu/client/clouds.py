"""The clouds that a person works with: where each one is, and who they are there."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tatu.client import files, ready
from tatu.core.errors import Malformed, Unauthenticated


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """One deployment, with the project and the key that we sign in to it with.

    `key` is the path of a key file or `agent:<fingerprint>`, or empty where OpenStack's own
    credentials sign in. `agent` says that the key that is
    certified lives in ssh-agent alone, and `insecure_http` that the URL may be plain http.
    `deployment` and `project_id` are what the last `tatu login` found there: nobody who answers
    later may name others. They are empty until then.
    """

    name: str
    url: str
    user: str
    project: str
    key: str
    agent: bool = False
    insecure_http: bool = False
    deployment: str = ""
    project_id: str = ""

    def __post_init__(self) -> None:
        """Refuse what would leak a token or leave its folder; raises `Malformed`."""
        check_url(self.url, insecure_http=self.insecure_http)
        cloud_name(self.name)

    @property
    def folder(self) -> Path:
        """Where the state of this cloud is kept."""
        return state_folder() / self.name


def cloud_name(text: str) -> str:
    """Parse a cloud's name, which is a folder's too; raises `Malformed`."""
    if not ready.is_cloud_name(text):
        raise Malformed(f"{text!r} is no name for a cloud (letters, digits, '.', '_' and '-')")
    return text


def check_url(
    url: str, *, insecure_http: bool, hint: str = "give --insecure-http if you must"
) -> None:
    """Raise `Malformed` unless a token may travel to this URL; `hint` says how it could.

    Over plain http anybody on the way could take it, but for this very machine.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Malformed(f"{url!r} is no URL") from error
    if parts.scheme not in ("http", "https"):
        raise Malformed(f"{url!r} is no URL: the URL must begin with http:// or https://")
    if not parts.hostname or parts.username:
        raise Malformed(f"{url!r} is no http or https URL")
    if parts.scheme == "http" and not insecure_http and not _is_loopback(parts.hostname):
        raise Malformed(f"{url} is not https: {hint}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def config_file() -> Path:
    """Return where the clouds are listed (XDG base directories)."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "tatu" / "clouds.yaml"


def state_folder() -> Path:
    """Return where tokens, keys and certificates are kept."""
    return Path(ready.state_folder())


def find(name: str | None) -> Cloud:
    """Return a saved cloud; raises `Unauthenticated` when there is none of this name."""
    wanted = name or ready.current_cloud()
    if wanted is None:
        raise Unauthenticated("no cloud yet: sign in with `tatu login --url URL --user NAME …`")
    saved = listed()
    if wanted not in saved:
        raise Unauthenticated(f"cloud {wanted!r} is not in {config_file()}: sign in to it first")
    return saved[wanted]


def listed() -> dict[str, Cloud]:
    """Return the saved clouds by name; raises `Malformed`, naming the file, for what is none."""
    clouds = {}
    for name, facts in _document().items():
        try:
            clouds[name] = Cloud(name=name, **facts)
        except TypeError as error:
            raise Malformed(f"{config_file()}: cloud {name!r}: {_cause(error)}") from error
    return clouds


def save(cloud: Cloud) -> None:
    """Write a cloud down and make it the current one; other clouds stay as they are."""
    import yaml  # noqa: PLC0415 -- a tenth of a second that `tatu ssh` must not wait for

    path = config_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.private_folder(state_folder())
    with files.locked(state_folder() / "lock"):
        document = _document()
        facts: dict[str, object] = {
            "url": cloud.url,
            "user": cloud.user,
            "project": cloud.project,
            "key": cloud.key,
            "deployment": cloud.deployment,
            "project_id": cloud.project_id,
        }
        if cloud.agent:
            facts["agent"] = True
        if cloud.insecure_http:
            facts["insecure_http"] = True
        document[cloud.name] = facts
        files.write(path, yaml.safe_dump({"clouds": document}, sort_keys=False))
        files.write(state_folder() / "current", cloud.name + "\n")


def _document() -> dict[str, dict[str, Any]]:
    import yaml  # noqa: PLC0415 -- as above

    path = config_file()
    if not path.exists():
        return {}
    try:
        document = yaml.safe_load(files.read(path))
    except yaml.YAMLError as error:
        raise Malformed(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    match document:
        case None:
            return {}
        case {"clouds": dict(clouds), **rest} if not rest and all(
            isinstance(name, str) and isinstance(facts, dict) and all(map(_is_text, facts))
            for name, facts in clouds.items()
        ):
            return clouds
    raise Malformed(f"{path} does not list `clouds`, each with url, user, project and key")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _cause(error: TypeError) -> str:
    """Return what is wrong with the fields, in the words of the file and not of Python."""
    return str(error).partition(") ")[2] or "it is no cloud"
