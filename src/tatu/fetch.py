"""Asks the API for a statement as hosts do, which has the API build what nobody built yet."""

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tatu.core.errors import Unavailable

_SILENCE = 10.0
"""Seconds without a byte, after which an answer is given up."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the API is where the configuration says."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Statements:
    """The statements of the API at a URL; its TLS is checked by the system's authorities."""

    url: str
    silence: float = _SILENCE

    def ask(self, authority: str, version: int) -> None:
        """Ask for one after that version; raise `Unavailable` unless the API answers.

        What it answers is left unread: what there is now, the ledger says.
        """
        request = urllib.request.Request(  # noqa: S310 (the configuration was checked)
            f"{self.url}/v2/authorities/{authority}/statement",
            headers={
                "If-None-Match": f'"{version}"',
                "Cache-Control": "no-cache",  # what stands between may keep an answer for a while
                "User-Agent": "tatu-watch",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
        try:
            opener.open(request, timeout=self.silence).close()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != HTTPStatus.NOT_MODIFIED:
                    raise Unavailable(f"{self.url} answers {error.code}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(f"{self.url} does not answer: {reason}") from error
