"""Jobs change their states only as the one table permits, whatever happens in whatever order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, select
from tests.server.conftest import MovableClock
from tests.server.fleet_of_agents import Fleet

from backstay.domain.job import TRANSITIONS, JobState
from backstay.server import job_queue, scheduler
from backstay.server.app import create_app
from backstay.server.control import Control, Wakeups
from backstay.server.tables import JobRow
from backstay.testing.protocol_agent import ProtocolAgent

POLICY = {
    "schedules": [{"rule": "*/30 * * * *"}],
    "window": {"starts": "11:00", "seconds": 4 * 3600},
    "retries": {"count": 2, "delay_seconds": 60},
    "restart_after_abort": True,
}
PROBLEM = {"path": "L3g=", "reason": "gone"}


@contextmanager
def watched_states() -> Iterator[list[tuple[str, str]]]:
    """Every change of any job's state, wherever in the code it is made."""
    changes: list[tuple[str, str]] = []

    def changed(job: JobRow, new: str, old: Any, initiator: object) -> None:
        if isinstance(old, str) and old != new:
            changes.append((old, new))

    event.listen(JobRow.state, "set", changed, active_history=True)
    try:
        yield changes
    finally:
        event.remove(JobRow.state, "set", changed)


class TwoServers:
    """Two server processes on one database, each with its own API."""

    def __init__(self, control: Control, client: TestClient, clock: MovableClock) -> None:
        self.clock = clock
        other = replace(control, instance="another process", wakeups=Wakeups())
        self.controls = [control, other]
        second = TestClient(create_app(other), raise_server_exceptions=False)
        second.headers.update(client.headers)
        self.clients = [client, second]
        self.fleet = Fleet(client)
        self.made = 0


class Jobs(RuleBasedStateMachine):
    """Two file servers with two sets each; agents, administrators, clocks and servers do what they like."""

    tickets = Bundle("tickets")

    def __init__(self, servers: TwoServers, changes: list[tuple[str, str]]) -> None:
        super().__init__()
        self.servers = servers
        self.changes = changes
        self.agents: list[ProtocolAgent] = []
        self.sets: list[int] = []
        servers.clock.now = MovableClock().now
        for _ in range(2):
            servers.made += 1
            agent = servers.fleet.agent(f"fs{servers.made}")
            self.agents.append(agent)
            for name in ("a", "b"):
                made = servers.fleet.backup_set(agent, name=name, policy_layer=POLICY)
                self.sets.append(made["id"])

    which = st.integers(0, 1)
    one_set = st.integers(0, 3)

    def _answered(self, answer: Any) -> Any:
        assert answer.status_code < 500, answer.text
        return answer

    @rule(at=which, number=one_set)
    def back_up_now(self, at: int, number: int) -> None:
        """An administrator asks."""
        self._answered(self.servers.clients[at].post(f"/api/v1/backup-sets/{self.sets[number]}/backup"))

    @rule(at=which)
    def look_at_schedules(self, at: int) -> None:
        """A server process looks what is due, and which jobs are over."""
        control = self.servers.controls[at]
        scheduler.tick(control)
        with control.database.begin() as db:
            job_queue.reap(db, control.clock())

    @rule(seconds=st.sampled_from([1, 30, 61, 80, 301, 1800, 3600, 4 * 3600, 86400, -86400]))
    def time_passes(self, seconds: int) -> None:
        """Or a clock is set."""
        self.servers.clock.forward(seconds=seconds)

    @rule(target=tickets, at=which, number=which, room=st.sampled_from([0, 1, 1, 1]), lost=st.booleans())
    def lease(self, at: int, number: int, room: int, lost: bool) -> Any:
        """An agent asks one of the servers for work; the answer may never reach it."""
        agent = self.agents[number]
        agent.client = self.servers.clients[at]
        answer = self._answered(agent.ask_for_work(room=room))
        ticket = answer.json()["ticket"] if answer.status_code == 200 else None
        if ticket is not None and not lost:
            agent.busy.add(ticket["job"])
        return (agent, ticket)

    @rule(held=tickets, at=which)
    def report(self, held: Any, at: int) -> None:
        """A process that holds, or once held, a job says how it goes: only the present holder counts."""
        agent, ticket = held
        if ticket is None:
            return
        before = self._job(ticket["job"])
        agent.client = self.servers.clients[at]
        verdict = agent.report(ticket)["verdict"]
        holds = (
            before["state"] == "running"
            and before["epoch"] == ticket["epoch"]
            and before["leased_to"] == agent.instance
        )
        assert (verdict != "lost") == (holds and self._speaks(agent))

    @rule(
        held=consumes(tickets),
        at=which,
        state=st.sampled_from(["succeeded", "failed", "cancelled"]),
        problems=st.sampled_from([[], [PROBLEM]]),
        twice=st.booleans(),
    )
    def outcome(self, held: Any, at: int, state: str, problems: list[Any], twice: bool) -> None:
        """A job ends; said twice, or by a process that lost it, it changes nothing."""
        agent, ticket = held
        if ticket is None:
            return
        agent.client = self.servers.clients[at]
        told = [agent.outcome(ticket, state, problems=problems)["state"] for _ in range(2 if twice else 1)]
        assert told[0] == told[-1] == self._job(ticket["job"])["state"]

    @rule(number=which, machine=st.booleans(), other_machine=st.booleans())
    def agent_restarts(self, number: int, machine: bool, other_machine: bool) -> None:
        """Another process speaks for the file server; perhaps on a machine that stole its identity."""
        agent = self.agents[number].restarted(machine=machine)
        if other_machine:
            agent.machine_id = "another machine"
        self.agents[number] = agent

    @rule(at=which, number=one_set, what=st.sampled_from(["cancel", "run-again"]))
    def administrator_acts(self, at: int, number: int, what: str) -> None:
        """On the newest job of a set."""
        client = self.servers.clients[at]
        found = client.get("/api/v1/jobs", params={"backup_set_id": self.sets[number], "limit": 1}).json()
        for job in found["items"]:
            self._answered(client.post(f"/api/v1/jobs/{job['id']}/{what}"))

    @rule(at=which, number=one_set, what=st.sampled_from(["enable", "disable"]))
    def set_is_switched(self, at: int, number: int, what: str) -> None:
        """On or off."""
        self._answered(self.servers.clients[at].post(f"/api/v1/backup-sets/{self.sets[number]}/{what}"))

    @invariant()
    def only_legal_changes(self) -> None:
        """Every change of a state is in the table."""
        for old, new in self.changes:
            assert JobState(new) in TRANSITIONS[JobState(old)], (old, new)
        self.changes.clear()

    @invariant()
    def one_job_of_a_set_runs(self) -> None:
        """And by schedule at most one waits; who has ended, has an end; who runs, is leased."""
        with self.servers.controls[0].database.read() as db:
            jobs = db.scalars(select(JobRow).where(JobRow.backup_set_id.in_(self.sets))).all()
        for number in self.sets:
            of_set = [job for job in jobs if job.backup_set_id == number]
            assert sum(job.state == "running" for job in of_set) <= 1
            scheduled = [job.scheduled_for for job in of_set if job.scheduled_for]
            assert len(scheduled) == len(set(scheduled))
            waiting = [job for job in of_set if job.state in {"queued", "waiting_for_agent"}]
            assert sum(job.trigger == "schedule" for job in waiting) <= 1
        for job in jobs:
            assert JobState(job.state).ended == (job.ended_at is not None)
            assert (job.state == "running") == (job.leased_until is not None)
            assert (job.lease_epoch > 0) == (job.started_at is not None)

    def teardown(self) -> None:
        """No later example sees these sets again."""
        for number in self.sets:
            self._answered(self.servers.clients[0].delete(f"/api/v1/backup-sets/{number}"))

    def _job(self, number: int) -> dict[str, Any]:
        with self.servers.controls[0].database.read() as db:
            job = db.get_one(JobRow, number)
            return {"state": job.state, "epoch": job.lease_epoch, "leased_to": job.leased_to}

    def _speaks(self, agent: ProtocolAgent) -> bool:
        with self.servers.controls[0].database.read() as db:
            from backstay.server.tables import FileServer

            return db.get_one(FileServer, agent.file_server_id).instance == agent.instance


@pytest.mark.timeout(200)
def test_only_legal_states_whatever_happens(
    control: Control, client: TestClient, clock: MovableClock
) -> None:
    """Leases, reports, outcomes, cancels, reaps and clocks in any order, from two agents and two servers."""
    servers = TwoServers(control, client, clock)
    with servers.clients[1], watched_states() as changes:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: Jobs(servers, changes),
            settings=settings(
                max_examples=12,
                stateful_step_count=28,
                deadline=None,
                phases=[Phase.explicit, Phase.reuse, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
