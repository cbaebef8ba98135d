"""File servers for tests, whose agents speak the real protocol."""

from datetime import datetime
from typing import Any

import httpx
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.server.tables import BackupSetRow, FileServer, RepositoryRow
from backstay.testing.protocol_agent import ProtocolAgent


class Fleet:
    """Enrols agents, and makes backup sets for them."""

    def __init__(self, client: TestClient | httpx.Client) -> None:
        self._client = client
        self._token: str = client.post("/api/v1/enrolment-tokens", json={}).json()["token"]

    def agent(self, name: str, *, running: bool = True) -> ProtocolAgent:
        """A file server with an agent, which is running: it has been heard of."""
        agent = ProtocolAgent.enrol(self._client, self._token, name)
        if running:
            agent.lease(room=0)
        return agent

    def backup_set(self, agent: ProtocolAgent, **fields: Any) -> dict[str, Any]:
        """A backup set of the agent's file server, `home` unless it is named."""
        new = {"file_server_id": agent.file_server_id, "name": "home", "paths": ["/srv"], **fields}
        answer = self._client.post("/api/v1/backup-sets", json=new)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


def plain_sets(db: Session, count: int, *, rule: str, now: datetime, each: int = 1) -> None:
    """So many file servers whose agents were just heard of, each with some sets on this schedule."""
    repository = db.scalars(select(RepositoryRow)).one()
    for number in range(count):
        server = FileServer(
            name=f"fs{number:05}", agent_key_hash="x" * 64, last_seen_at=now, created_at=now, instance="agent"
        )
        for which in range(each):
            server.sets.append(
                BackupSetRow(
                    name=f"set{which}",
                    repository_id=repository.id,
                    paths=["/srv"],
                    policy_layer={"schedules": [{"rule": rule}]},
                    created_at=now,
                    updated_at=now,
                )
            )
        db.add(server)
