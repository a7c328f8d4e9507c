"""The way from an instance to Tatu by the metadata address: Neutron's agent, and the proxy behind it."""

from urllib.parse import urlsplit

PREFIX = "/tatu"


class MetadataPath:
    """A WSGI application that hands on what Neutron's agent does, and answers as it does."""

    def __init__(self, app):
        self._app = app
        self.seen = []

    def __call__(self, environ, start):
        path = urlsplit(environ["PATH_INFO"]).path
        self.seen.append((environ["REQUEST_METHOD"], path))
        if not path.startswith(f"{PREFIX}/"):
            return _answer(start, "404 Not Found")
        said = []
        # no header comes through, but who asked; the proxy says what the body is
        handed = {
            name: value
            for name, value in environ.items()
            if not name.startswith("HTTP_") and name != "CONTENT_TYPE"
        } | {
            "PATH_INFO": path.removeprefix(PREFIX),
            "HTTP_X_FORWARDED_FOR": "10.0.0.7",
            "CONTENT_TYPE": "application/json",
        }
        body = b"".join(self._app(handed, lambda status, headers, *_: said.append(status)))
        if said[-1].startswith("200 "):
            return _answer(start, "200 OK", body)
        if said[-1][:3] in {"400", "403", "404", "409", "502", "503", "504"}:
            return _answer(start, said[-1])
        return _answer(start, "500 Internal Server Error")


def _answer(start, status, body=b""):
    start(status, [("Content-Length", str(len(body))), ("Content-Type", "application/json")])
    return [body]
