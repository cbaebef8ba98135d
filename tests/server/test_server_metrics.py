"""What Prometheus scrapes and what is logged: complete, few series, no secrets."""

import io
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from tests.server.conftest import MovableClock, token_for
from tests.server.estate import Estate

from backstay.cli import logs
from backstay.server import background
from backstay.server.access import Role
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.tables import RepositoryFigures


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a service logs, at level debug; afterwards logging is as before."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    logs.configure("debug", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _scraped(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def _value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_the_estate_is_measured(client: TestClient, control: Control, clock: MovableClock) -> None:
    """Jobs, ages, agents, storage, bytes and alerts are what happened."""
    estate = Estate(control, clock)
    server = estate.file_server("fs1")
    estate.file_server("fs2", well=False)
    set_id = estate.backup_set(server, None, "data")
    estate.backup_set(server, None, "never")
    estate.end(estate.backup(set_id))
    estate.forward(minutes=10)
    estate.look()
    estate.backup(set_id)
    with control.database.begin() as db:
        repository = default_repository(db)
        assert repository is not None
        db.add(
            RepositoryFigures(
                repository_id=repository.id,
                at=clock() - timedelta(hours=1),
                stored_bytes=7,
                source_bytes=9,
                packs=1,
                restore_points=1,
                free_bytes=11,
            )
        )
    samples = _scraped(client)
    assert _value(samples, "backstay_jobs", kind="backup", state="running") == 1
    assert _value(samples, "backstay_jobs", kind="restore", state="queued") == 0
    assert _value(samples, "backstay_jobs_last_day", kind="backup", state="succeeded") == 1
    assert _value(samples, "backstay_queue_length") == 0
    age = "backstay_set_last_success_age_seconds"
    assert _value(samples, age, file_server="fs1", backup_set="data") == 615
    assert _value(samples, age, file_server="fs1", backup_set="never") == float("inf")
    assert _value(samples, "backstay_agents_enrolled") == 2
    assert _value(samples, "backstay_agents_connected") == 1
    assert _value(samples, "backstay_repository_stored_bytes", repository="default") == 7
    assert _value(samples, "backstay_repository_free_bytes", repository="default") == 11
    assert _value(samples, "backstay_alerts", kind="set_uncovered", severity="warning") == 2
    assert _value(samples, "backstay_database_bytes") > 0
    assert _value(samples, "backstay_database_statement_seconds_count") > 0
    assert any(name == "process_resident_memory_bytes" for name, _ in samples)


def test_requests_are_timed_by_route_not_by_path(client: TestClient) -> None:
    """However many paths are asked for, there is one series a route; unknown paths share one."""
    for number in range(1, 6):
        client.get(f"/api/v1/file-servers/{number}")
        client.get(f"/no/such/{number}")
    samples = _scraped(client)
    count = "backstay_http_request_seconds_count"
    route = "/api/v1/file-servers/{file_server_id}"
    assert _value(samples, count, method="GET", route=route, status="4xx") == 5
    routes = {dict(labels)["route"] for name, labels in samples if name == count}
    assert len(routes) == 2


def test_chores_tell_when_they_last_succeeded(control: Control, clock: MovableClock) -> None:
    """A chore that ends well is stamped, one that fails is counted."""
    control.metrics.chore_done("reap", clock(), 0.1)
    control.metrics.chore_failed("alerts")
    name = "backstay_chore_last_success_timestamp_seconds"
    value = control.metrics.registry.get_sample_value
    assert value(name, {"chore": "reap"}) == clock().timestamp()
    assert value("backstay_chore_failures_total", {"chore": "alerts"}) == 1
    assert {"alerts", "notify", "reap"} <= {chore.name for chore in background.CHORES}


def test_metrics_take_a_token_unless_they_are_open_to_this_machine(control: Control) -> None:
    """Without a token nobody scrapes; where it is allowed the loopback address does, but no proxy on it."""
    with TestClient(create_app(control), client=("127.0.0.1", 5)) as closed:
        assert closed.get("/metrics").status_code == 401
        token = token_for(control, Role.AUDITOR)
        assert closed.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    opened = replace(
        control, settings=replace(control.settings, open_metrics=True), metrics=type(control.metrics)()
    )
    app = create_app(opened)
    with TestClient(app, client=("127.0.0.1", 5)) as local:
        assert local.get("/metrics").status_code == 200
        assert local.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 401
    with TestClient(app, client=("192.0.2.1", 5)) as remote:
        assert remote.get("/metrics").status_code == 401


def test_every_request_is_a_line_with_its_id(client: TestClient, log: io.StringIO) -> None:
    """The access log is JSON; the id of a proxy is kept if it is one, and the answer bears it."""
    answer = client.get("/api/v1/file-servers?search=x", headers={"X-Request-Id": "proxy-12345678"})
    assert answer.headers["x-request-id"] == "proxy-12345678"
    other = client.get("/api/v1/file-servers", headers={"X-Request-Id": "bad id\t<"})
    assert re.fullmatch("[0-9a-f]{16}", other.headers["x-request-id"])
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [one for one in lines if one.get("request") == "proxy-12345678" and one["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/v1/file-servers", 200)
    assert line["level"] == "info"
    assert line["seconds"] >= 0


def test_no_secret_is_logged(log: io.StringIO) -> None:
    """Neither fields that are secrets by name, nor secrets inside texts and tracebacks, reach the log."""
    secret = "Zx-7361-horse"
    logger = structlog.get_logger()
    logger.info("signing in", password=secret, nested={"api_token": secret, "deep": [f"Bearer {secret}aaaa"]})
    logger.info(f"using postgresql://backstay:{secret}@db/backstay")
    logger.info(f"enrolling with backstay-enrol-{secret}")
    logging.getLogger("uvicorn.error").warning("Authorization: Agent 12:%s", secret)
    logging.getLogger("httpx").info("HTTP Request: POST https://hooks.test/%s", secret)
    try:
        raise ValueError(f"cannot reach https://user:{secret}@host/")
    except ValueError as error:
        logger.error("defect", exc_info=error)
    text = log.getvalue()
    assert secret not in text
    assert all(line in text for line in ("signing in", "using", "enrolling with", "defect"))
    assert "cannot reach https://********@host/" in text


def test_a_terminal_gets_readable_lines_and_the_level_counts() -> None:
    """What a person reads is no JSON; below the level nothing is written."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    try:
        stream = io.StringIO()
        logs.configure("warning", as_json=False, stream=stream)
        structlog.get_logger().info("quiet")
        structlog.get_logger().warning("loud", number=3)
        assert "quiet" not in stream.getvalue()
        assert "loud" in stream.getvalue()
        assert not stream.getvalue().startswith("{")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**before)
