"""Where the agent's messages go when it is a service."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from backstay.agent.service_log import log_to


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests log as they did."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)


def test_everything_is_in_the_file_and_what_matters_is_told(tmp_path: Path) -> None:
    """Each message is a line of JSON; only warnings and errors reach the event log."""
    told: list[tuple[str, str]] = []
    file = log_to(tmp_path / "agent", lambda level, text: told.append((level, text)))
    log = structlog.get_logger()
    log.info("job started", job=7)
    log.warning("no work to be had", what="the server does not answer")
    print("printed")
    file.close()
    *lines, printed = (tmp_path / "agent" / "agent.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["job started", "no work to be had"]
    assert printed == "printed"
    assert told == [("warning", "no work to be had; what: the server does not answer")]


def test_a_long_file_gives_way(tmp_path: Path) -> None:
    """One older file is kept."""
    path = tmp_path / "agent.log"
    path.write_bytes(b"x" * (9 << 20))
    log_to(tmp_path, lambda level, text: None).close()
    assert path.stat().st_size == 0
    assert (tmp_path / "agent.log.1").stat().st_size == 9 << 20
