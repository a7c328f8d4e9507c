"""The twelve commands of the original's command line, over keystoneauth's discovery."""

from urllib.parse import parse_qsl, urlsplit

from keystoneauth1 import access, adapter
from keystoneauth1.exceptions import http as refusals
from keystoneauth1.identity.base import BaseIdentityPlugin
from keystoneauth1.session import Session


class SignedIn(BaseIdentityPlugin):
    """Who has a token, and a catalog with the service `ssh` at a URL.

    The embedded identity takes its tokens as bearers; Keystone's are in X-Auth-Token.
    """

    def __init__(self, token: str, user: str, project: str, url: str) -> None:
        super().__init__()
        endpoint = {"id": "e", "interface": "public", "region_id": "RegionOne", "url": url}
        facts = {
            "user": {"id": user, "name": user, "domain": {"id": "default", "name": "Default"}},
            "project": {"id": project, "name": project, "domain": {"id": "default"}},
            "methods": ["password"],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "catalog": [{"id": "s", "type": "ssh", "name": "tatu", "endpoints": [endpoint]}],
        }
        self._access = access.create(body={"token": facts}, auth_token=token)

    def get_auth_ref(self, session, **_):
        return self._access

    def get_headers(self, session, **_):
        return {"Authorization": f"Bearer {self._access.auth_token}"}

    def get_cache_id_elements(self):
        return {}


class Refusal(Exception):
    """What the command line prints of a refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class OriginalClient:
    """Commands by their words; what each returns is what the command makes its columns of."""

    def __init__(self, signed_in: Session, *, version: str = "1", everything: bool = False):
        self._session = signed_in
        headers = {"X-Auth-All-Projects": "True"} if everything else {}
        self._adapter = adapter.Adapter(
            self._session,
            service_type="ssh",
            version=version,
            interface="public",
            region_name="RegionOne",
            additional_headers=headers,
        )

    @property
    def endpoint(self) -> str:
        return self._adapter.get_endpoint()

    def ca_list(self):
        return self._list("/authorities", "CAs")

    def ca_show(self, auth_id):
        return self._ask("GET", f"/authorities/{auth_id}")

    def ca_create(self, auth_id):
        return self._ask("POST", "/authorities", {"auth_id": auth_id})

    def usercert_list(self):
        return self._list("/usercerts", "certs")

    def usercert_show(self, serial):
        return self._ask("GET", f"/usercerts/{serial}")

    def usercert_create(self, pub_key):
        ids = {
            "user_id": self._session.get_user_id(),
            "auth_id": self._session.get_project_id(),
        }
        return self._ask("POST", "/usercerts", {**ids, "pub_key": pub_key})

    def usercert_revoke(self, auth_id, serial):
        return self._ask("POST", f"/revokeduserkeys/{auth_id}", {"serial": str(serial)})

    def host_list(self):
        return self._list("/hosts", "hosts")

    def host_show(self, host_id):
        return self._ask("GET", f"/hosts/{host_id}")

    def hostcert_list(self):
        return self._list("/hostcerts", "certs")

    def hostcert_show(self, host_id, fingerprint):
        return self._ask("GET", f"/hostcerts/{host_id}/{fingerprint}")

    def pat_list(self):
        return self._list("/pats", "pats")

    def _list(self, path, key):
        """Go through all parts: of the link to the next only what it asks for is sent."""
        found, params = [], {}
        while True:
            body = self._ask("GET", path, params=params)
            found += body[key]
            link = body.get("links", {}).get("next")
            if not link:
                return found
            params = dict(parse_qsl(urlsplit(link).query))

    def _ask(self, method, path, body=None, **more):
        try:
            answer = self._adapter.request(path, method, json=body, **more)
        except refusals.HttpError as error:
            told = error.response.json() if error.response.content else {}
            raise Refusal(error.http_status, told.get("message", "")) from error
        return answer.json() if answer.content else {}
