"""The load: a process of its own that asks over kept-alive connections, as cheaply as it can.

It reads one `Job` as JSON from standard input, runs it and writes one `Report`. Without a rate
every connection asks again as soon as it is answered (how much can be served?). With a rate
requests are due at even times, and a latency counts from when its request was due: a server that
stalls is not excused by a load that politely waits for it.
"""

import json
import re
import select
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNK = 65_536
_PATIENCE = 15.0  # seconds for the last answers


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to ask. `requests` are asked in a cycle, or once each when they are `single_use`."""

    port: int
    requests: Sequence[str]
    seconds: float
    connections: int = 32
    rate: float | None = None
    expected: int = 201
    tls: bool = False
    single_use: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a job. Latencies are in milliseconds."""

    answered: int
    seconds: float
    p50: float
    p99: float
    cpu: float
    unexpected: dict[str, int] = field(default_factory=dict)
    sample: str = ""

    @property
    def rate(self) -> float:
        """Expected answers a second."""
        return self.answered / self.seconds


class LoadFailed(Exception):
    """The load did not get what it asked for; the text says what it got."""


def run(job: Job) -> Report:
    """Run a job in a process of its own; raises `LoadFailed` for any other answer."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        timeout=job.seconds + _PATIENCE + 30,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(done.stderr.strip().splitlines()[-1])
    report = Report(**json.loads(done.stdout))
    if report.unexpected or not report.answered:
        raise LoadFailed(f"answers {report.unexpected or 'none'}: {report.sample}")
    return report


class Connection:
    """One connection; it has at most one question out."""

    def __init__(self, job: Job) -> None:
        plain = socket.create_connection(("127.0.0.1", job.port), timeout=10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = _wrapped(plain) if job.tls else plain
        self.socket.settimeout(0)
        self.due = 0.0
        self._got = b""
        self._whole = 0

    def ask(self, request: bytes, due: float) -> None:
        """Send a request, whole: it is small and the socket is idle."""
        self.due, self._got, self._whole = due, b"", 0
        if self.socket.send(request) != len(request):
            raise LoadFailed("a request does not fit into a socket's buffer")

    def answer(self) -> bytes | None:
        """Return the answer when it is there in full."""
        try:
            data = self.socket.recv(_CHUNK)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        if not data:
            raise LoadFailed("the server closed a connection")
        self._got += data
        if not self._whole:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return None
            length = _LENGTH.search(self._got, 0, end)
            self._whole = end + 4 + (int(length[1]) if length else 0)
        return self._got if len(self._got) >= self._whole else None


def _wrapped(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a peer made a minute ago
    return context.wrap_socket(plain)


class Load:
    """A running job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.latencies: list[float] = []
        self.unexpected: Counter[str] = Counter()
        self.sample = ""
        self._wanted = f" {job.expected} ".encode()
        self._requests = self._cycle()
        self._poll = select.epoll()
        self._connections = {}
        for _ in range(job.connections):
            connection = Connection(job)
            self._connections[connection.socket.fileno()] = connection
            self._poll.register(connection.socket.fileno(), select.EPOLLIN)

    def _cycle(self) -> Iterator[bytes]:
        requests = [request.encode() for request in self.job.requests]
        while True:
            yield from requests
            if self.job.single_use:
                return

    def run(self) -> Report:
        """Ask until the time is over or all is asked; then wait for the last answers."""
        start, busy = time.perf_counter(), time.process_time()
        until = start + self.job.seconds
        last = self._closed(start, until) if self.job.rate is None else self._open(start, until)
        self.latencies.sort()
        return Report(
            answered=len(self.latencies) - self.unexpected.total(),
            seconds=last - start,
            p50=self._percentile(50),
            p99=self._percentile(99),
            cpu=time.process_time() - busy,
            unexpected=dict(self.unexpected),
            sample=self.sample,
        )

    def _percentile(self, part: int) -> float:
        count = len(self.latencies)
        return 1000 * self.latencies[min(count - 1, count * part // 100)] if count else 0.0

    def _closed(self, start: float, until: float) -> float:
        out = 0
        for connection, request in zip(self._connections.values(), self._requests, strict=False):
            connection.ask(request, start)
            out += 1
        now = start
        while out:
            for connection in self._answered(until):
                out -= 1
                now = time.perf_counter()
                request = next(self._requests, None) if now < until else None
                if request is not None:
                    connection.ask(request, now)
                    out += 1
        return now

    def _open(self, start: float, until: float) -> float:
        idle = deque(self._connections.values())
        gap = 1 / (self.job.rate or 1)
        due = now = start
        while due < until or len(idle) < len(self._connections):
            now = time.perf_counter()
            while due <= now and due < until and idle:
                request = next(self._requests, None)
                if request is None:
                    until = due
                    break
                idle.popleft().ask(request, due)
                due += gap
            if due < until and idle:  # epoll's own timeout knows only milliseconds
                select.select([self._poll], [], [], max(0.0, due - now))
                idle.extend(self._answered(until, 0))
            else:
                idle.extend(self._answered(until))
        return max(now, until)

    def _answered(self, until: float, timeout: float = 0.05) -> Iterator[Connection]:
        for number, _ in self._poll.poll(timeout):
            connection = self._connections[number]
            answer = connection.answer()
            if answer is not None:
                self.latencies.append(time.perf_counter() - connection.due)
                if self._wanted not in answer[:16]:
                    self.unexpected[answer[9:12].decode(errors="replace")] += 1
                    self.sample = answer[-300:].decode(errors="replace")
                yield connection
        if time.perf_counter() > until + _PATIENCE:
            raise LoadFailed("answers are missing")


def echo() -> None:
    """Answer anything at once, to see what the load itself can do; tells its port."""
    answer = b"HTTP/1.1 201 Created\r\ncontent-length: 1500\r\n\r\n" + b"x" * 1500
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    open_sockets: dict[int, socket.socket] = {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                accepted, _address = listener.accept()
                open_sockets[accepted.fileno()] = accepted
                poll.register(accepted.fileno(), select.EPOLLIN)
            elif open_sockets[number].recv(_CHUNK):
                open_sockets[number].send(answer)
            else:
                open_sockets.pop(number).close()


def request(method: str, path: str, *, body: str = "", headers: Sequence[str] = ()) -> str:
    """Return the text of an HTTP/1.1 request on a connection that stays."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body.encode())}"]
    return "\r\n".join((*lines, "", body))


def main() -> None:
    """Run the job on standard input."""
    if sys.argv[1:] == ["--echo"]:
        echo()
        return
    json.dump(asdict(Load(Job(**json.load(sys.stdin))).run()), sys.stdout)


if __name__ == "__main__":
    main()
