"""A server on this machine that remembers what it was asked, whoever it plays."""

import http.server
import threading


class FakeHttp:
    """Serves what `respond` says; `stop` ends it."""

    def __init__(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, answer = fake.respond(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(answer)}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 -- the library's names

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def respond(self, method, path, headers, body):
        """Return the status, the headers and the bytes of an answer."""
        raise NotImplementedError

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
