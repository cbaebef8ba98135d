"""What one server process counts and times of itself, for Prometheus (https://prometheus.io/docs/practices/)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy import Engine, event

import backstay

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The instruments of one process, in a registry of their own. Safe to use from several threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        info = Info("backstay", "The version that runs.", registry=self.registry)
        info.info({"version": backstay.__version__})
        self._requests = Histogram(
            "backstay_http_request_seconds",
            "Time from a request to the beginning of its answer, by route.",
            ["method", "route", "status"],
            buckets=_FAST,
            registry=self.registry,
        )
        self._statements = Histogram(
            "backstay_database_statement_seconds",
            "Time that the database took for a statement.",
            buckets=_FAST,
            registry=self.registry,
        )
        self._chore_seconds = Histogram(
            "backstay_chore_seconds",
            "Time that a chore took.",
            ["chore"],
            buckets=_FAST,
            registry=self.registry,
        )
        self._chore_success = Gauge(
            "backstay_chore_last_success_timestamp_seconds",
            "When a chore last ended well, by the server's clock.",
            ["chore"],
            registry=self.registry,
        )
        self._chore_failures = Counter(
            "backstay_chore_failures", "How often a chore failed.", ["chore"], registry=self.registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, f"{status // 100}xx").observe(seconds)

    def chore_done(self, chore: str, at: datetime, seconds: float) -> None:
        """A chore ended well."""
        self._chore_success.labels(chore).set(at.timestamp())
        self._chore_seconds.labels(chore).observe(seconds)

    def chore_failed(self, chore: str) -> None:
        """A chore did not."""
        self._chore_failures.labels(chore).inc()

    @contextmanager
    def timing(self, engine: Engine) -> Iterator[None]:
        """Time what the engine executes meanwhile."""

        def before(connection: Any, *_: Any) -> None:
            connection.info["backstay_began"] = time.perf_counter()

        def after(connection: Any, *_: Any) -> None:
            began = connection.info.pop("backstay_began", None)
            if began is not None:
                self._statements.observe(time.perf_counter() - began)

        event.listen(engine, "before_cursor_execute", before)
        event.listen(engine, "after_cursor_execute", after)
        try:
            yield
        finally:
            event.remove(engine, "before_cursor_execute", before)
            event.remove(engine, "after_cursor_execute", after)
