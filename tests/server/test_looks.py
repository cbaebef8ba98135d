"""What agents are asked about their disks, and the lines of their logs that they tell."""

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.fleet_of_agents import Fleet

from backstay.domain.errors import Conflict, Forbidden, NotFound, UsageError
from backstay.protocol.report import LookAnswer
from backstay.server import agent_logs, looks
from backstay.server.access import PERMISSIONS, Actor, Role
from backstay.server.control import Control
from backstay.server.looks import Question
from backstay.server.tables import FileServer
from backstay.testing.protocol_agent import ProtocolAgent

MARIA = Actor("maria", PERMISSIONS[Role.OPERATOR])


def ask(
    control: Control, agent: ProtocolAgent, path: str = "/srv", *, by: Actor = MARIA, text: str = ""
) -> int:
    """The number of the question."""
    with control.database.begin() as db:
        question = Question(agent.file_server_id, path, text)
        return looks.ask(db, by, question, now=control.clock()).id


def answer_of(control: Control, look: int, by: Actor = MARIA) -> LookAnswer | None:
    """The answer, if it is there."""
    with control.database.read() as db:
        return looks.answer_of(db, by, look)[1]


def look_of(agent: ProtocolAgent, room: int = 0) -> dict[str, Any] | None:
    """The question that the agent is given, even while it has no room for jobs."""
    ticket: dict[str, Any] | None = agent.ask_for_work(room=room, looks=True).json()["ticket"]
    return ticket


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """Enrols agents."""
    return Fleet(client)


def test_a_question_is_handed_out_and_its_answer_kept(
    control: Control, fleet: Fleet, clock: MovableClock
) -> None:
    """Once, to the agent that was asked; only who asked is told; a question is not a job."""
    agent, other = fleet.agent("fs1"), fleet.agent("fs2")
    look = ask(control, agent, "/srv/data", text="*.tmp")
    assert look_of(other) is None
    assert agent.lease(room=2) is None, "an agent of an older version is not asked"
    ticket = look_of(agent)
    assert ticket is not None
    assert (ticket["kind"], ticket["job"], ticket["rule"]) == ("look", look, "*.tmp")
    assert look_of(agent) is None
    assert answer_of(control, look) is None
    told = {
        "found": "folder",
        "files": 7,
        "entries": [{"path": "L3Nydg==", "kind": "folder", "included": True}],
    }
    agent.outcome(ticket, look=told)
    answer = answer_of(control, look)
    assert answer is not None
    assert (answer.files, answer.entries[0].path) == (7, b"/srv")
    with pytest.raises(NotFound):
        answer_of(control, look, Actor("eve", MARIA.permissions))


def test_an_answer_counts_only_from_who_was_asked(
    control: Control, fleet: Fleet, clock: MovableClock
) -> None:
    """Not from another file server, and not under an older epoch."""
    agent, other = fleet.agent("fs1"), fleet.agent("fs2")
    look = ask(control, agent)
    first = look_of(agent)
    assert first is not None
    clock.forward(seconds=10)
    again = look_of(agent)
    assert again is not None, "an answer was lost: it is asked again"
    assert other.say(look, "outcome", {"epoch": 1, "state": "succeeded", "look": {}}).status_code == 404
    assert agent.say(look, "outcome", {"epoch": 1, "state": "succeeded", "look": {}}).status_code == 403
    assert answer_of(control, look) is None
    clock.forward(seconds=60)
    assert look_of(agent) is None, "nobody waits for it any more"


def test_who_may_not_decide_what_is_backed_up_may_not_look(
    control: Control, fleet: Fleet, clock: MovableClock
) -> None:
    """Operators and administrators may; what makes no sense is refused before the agent hears."""
    agent = fleet.agent("fs1")
    for role, permissions in PERMISSIONS.items():
        by = Actor(role.value, permissions)
        if role in {Role.ADMINISTRATOR, Role.OPERATOR}:
            assert ask(control, agent, by=by)
        else:
            with pytest.raises(Forbidden):
                ask(control, agent, by=by)
    for path, text in (("/srv/../etc", ""), ("srv", ""), ("/srv", "[size > nonsense] *")):
        with pytest.raises(UsageError):
            ask(control, agent, path, text=text)
    clock.forward(minutes=5)
    with pytest.raises(Conflict, match="not connected"):
        ask(control, agent)


def test_the_last_lines_of_an_agents_log_are_kept(
    control: Control, fleet: Fleet, clock: MovableClock
) -> None:
    """The newest five hundred of each file server, by the server's clock."""
    agent, other = fleet.agent("fs1"), fleet.agent("fs2")
    now = time.time_ns()
    other.ask_for_work(log=[{"at_ns": now, "level": "info", "text": "of another"}])
    for batch in range(11):
        lines = [{"at_ns": now, "level": "info", "text": f"line {batch * 50 + one}"} for one in range(50)]
        assert agent.ask_for_work(room=0, log=lines).status_code == 200
    with control.database.read() as db:
        kept = agent_logs.lines_of(db, agent.file_server_id)
        assert [line.text for line in kept] == [f"line {number}" for number in range(549, 49, -1)]
        assert [line.text for line in agent_logs.lines_of(db, other.file_server_id)] == ["of another"]
        ahead = db.get_one(FileServer, agent.file_server_id).clock_offset
        assert abs(ahead) > 60, "the test's clock stands elsewhere than the machine's"
        assert all(abs((line.at - clock.now).total_seconds()) < 60 for line in kept)
    too_many = [{"at_ns": now, "level": "info", "text": "x"}] * 51
    assert agent.ask_for_work(log=too_many).status_code == 422
