"""Transactions that lock the same rows of PostgreSQL do so in one order: none waits for another for ever."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import token_for
from tests.server.fleet_of_agents import Fleet

from backstay.server import background
from backstay.server.access import Role
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.testing.protocol_agent import step

_ROUNDS = 10


@pytest.fixture
def control(control: Control) -> Control:
    """On PostgreSQL alone: SQLite has one writer."""
    if control.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time, so that nobody waits for anybody in turn")
    return control


@pytest.fixture
def client(control: Control) -> Iterator[TestClient]:
    """The API, whose failures are answers."""
    with TestClient(create_app(control), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token_for(control, Role.ADMINISTRATOR)}"
        yield client


def _together(*doings: Any) -> None:
    barrier = threading.Barrier(len(doings))

    def start(do: Any) -> None:
        barrier.wait()
        do()

    threads = [threading.Thread(target=start, args=(do,)) for do in doings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_greeting_beside_reports(control: Control, client: TestClient) -> None:
    """A new agent process says that it is there while the old one reports: all are answered."""
    fleet = Fleet(client)
    agent = fleet.agent("fs")
    sets = [fleet.backup_set(agent, name=f"set{number}")["id"] for number in range(3)]
    reap = next(one for one in background.CHORES if one.name == "reap")
    answers: list[tuple[str, int, str]] = []

    def say(what: str, answer: Any) -> None:
        answers.append((what, answer.status_code, answer.text if answer.status_code >= 500 else ""))

    for _ in range(_ROUNDS):
        for number in sets:
            assert client.post(f"/api/v1/backup-sets/{number}/backup").status_code == 201
        tickets = [ticket for _ in sets if (ticket := agent.lease(room=3))]
        assert len(tickets) == 3
        old, agent = agent, agent.restarted()
        # So long after it was heard of last, a report says of the file server, too, that it is there.
        control.clock.forward(seconds=11)  # type: ignore[attr-defined]
        bodies = [{"epoch": one["epoch"], "steps": [step("scan", "running")]} for one in tickets]
        jobs = [one["job"] for one in tickets]
        _together(
            lambda: say("greeting", agent.ask_for_work(room=0)),  # noqa: B023
            *(
                (lambda job=job, body=body: say("report", old.say(job, "report", body)))  # noqa: B023
                for job, body in zip(jobs, bodies, strict=True)
            ),
            lambda: reap.run(control),
        )
        assert [one for one in answers if one[1] != 200] == []
    assert len(answers) == _ROUNDS * 4
