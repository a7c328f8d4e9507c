"""What Prometheus reads: requests by route, method and status, and how long they took."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tatu.ports import Lag

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """The counters of this process; behind several processes each scrape sees one of them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tatu_api_requests",
            "Requests answered",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tatu_api_request_seconds",
            "How long a request took",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._unproven = Counter(
            "tatu_enrolments_denied",
            "Enrolments that no token proved, of hosts that are there or not",
            ("host",),
            registry=self._registry,
        )
        self._held = Gauge(
            "tatu_held_losses",
            "Inferred losses that the brake holds, as the ledger has them",
            registry=self._registry,
        )
        self._enrolled = Gauge(
            "tatu_hosts_enrolled", "Hosts that have enrolled", registry=self._registry
        )
        self._behind = Gauge(
            "tatu_hosts_behind",
            "Of them, those that have not shown to obey the newest revocations",
            registry=self._registry,
        )
        self._oldest = Gauge(
            "tatu_oldest_receipt_seconds",
            "How long ago the host gave its receipt that is silent for longest",
            registry=self._registry,
        )
        self._counted: dict[tuple[str, str, int], Counter] = {}
        self._timed: dict[str, Histogram] = {}

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; routes are templates, so that there are few of them."""
        counted = self._counted.get((route, method, status))
        if counted is None:
            counted = self._requests.labels(route, method, str(status))
            self._counted[route, method, status] = counted
        counted.inc()
        timed = self._timed.get(route)
        if timed is None:
            timed = self._timed[route] = self._seconds.labels(route)
        timed.observe(seconds)

    def count_unproven(self, *, known: bool) -> None:
        """Count an enrolment that no token proved."""
        self._unproven.labels("known" if known else "unknown").inc()

    def set_held(self, count: int) -> None:
        """Tell how many losses the brake holds."""
        self._held.set(count)

    def set_lag(self, lag: Lag, now: datetime) -> None:
        """Tell how far hosts are with what is revoked."""
        self._enrolled.set(lag.hosts)
        self._behind.set(lag.behind)
        self._oldest.set((now - lag.oldest).total_seconds() if lag.oldest else 0)

    def text(self) -> bytes:
        """Write all that was counted, in Prometheus's text format."""
        return generate_latest(self._registry)
