"""The way from an instance to Tatu by the metadata address: Neutron's agent, and the proxy behind it."""

PREFIX = "/tatu"


class Neutron:
    """Neutron's metadata agent, as a WSGI application before another: it says who asks.

    Method, path and body come through, and no header; back come what is 200, and few statuses bare.
    """

    def __init__(self, beyond):
        self._beyond = beyond
        self.seen = []

    def __call__(self, environ, start):
        self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        handed = {
            name: value
            for name, value in environ.items()
            if not name.startswith("HTTP_") and name != "CONTENT_TYPE"
        } | {"HTTP_X_FORWARDED_FOR": "10.0.0.7", "HTTP_X_INSTANCE_ID_SIGNATURE": "secret"}
        said = []
        body = b"".join(self._beyond(handed, lambda status, headers, *_: said.append(status)))
        if said[-1].startswith("200 "):
            return _answer(start, "200 OK", body)
        if said[-1][:3] in {"400", "403", "404", "409", "502", "503", "504"}:
            return _answer(start, said[-1])
        return _answer(start, "500 Internal Server Error")


def proxied(app):
    """Return Tatu as a proxy before Nova's metadata lets it be reached, which says what bodies are."""

    def way(environ, start):
        if not environ["PATH_INFO"].startswith(f"{PREFIX}/"):
            return _answer(start, "404 Not Found")
        path = environ["PATH_INFO"].removeprefix(PREFIX)
        return app(environ | {"PATH_INFO": path, "CONTENT_TYPE": "application/json"}, start)

    return way


def _answer(start, status, body=b""):
    start(status, [("Content-Length", str(len(body))), ("Content-Type", "application/json")])
    return [body]
