"""The way from an instance to Tatu by the metadata address: Neutron's agent, and the proxy behind it."""

PREFIX = "/tatu"

_BROKEN = "502 Bad Gateway"


MAX_REQUEST = 3822
"""What was left for a request line when Neutron's agent, release 2026.2, was behind its own haproxy."""


class Neutron:
    """Neutron's metadata agent, as a WSGI application before another: it says who asks.

    Method and path come through if they are short, no header, and bodies when they are lucky: here never. Back come
    what is 200 and text, and few statuses bare.
    """

    def __init__(self, beyond):
        self._beyond = beyond
        self.seen = []

    def __call__(self, environ, start):
        self.seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if len(f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}") > MAX_REQUEST:
            return _answer(start, _BROKEN)
        handed = {
            name: value
            for name, value in environ.items()
            if not name.startswith(("HTTP_", "CONTENT_"))
        } | {"HTTP_X_FORWARDED_FOR": "10.0.0.7", "HTTP_X_INSTANCE_ID_SIGNATURE": "secret"}
        said = []
        body = b"".join(self._beyond(handed, lambda status, headers, *_: said.append(status)))
        if said[-1].startswith("200 "):
            return _answer(start, "200 OK", body) if _is_text(body) else _answer(start, _BROKEN)
        if said[-1][:3] in {"400", "403", "404", "409", "502", "503", "504"}:
            return _answer(start, said[-1])
        return _answer(start, "500 Internal Server Error")


def proxied(app):
    """Return Tatu as a proxy before Nova's metadata lets it be reached."""

    def way(environ, start):
        if not environ["PATH_INFO"].startswith(f"{PREFIX}/"):
            return _answer(start, "404 Not Found")
        path = environ["PATH_INFO"].removeprefix(PREFIX)
        return app(environ | {"PATH_INFO": path}, start)

    return way


def _is_text(body):
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _answer(start, status, body=b""):
    start(status, [("Content-Length", str(len(body))), ("Content-Type", "application/json")])
    return [body]
