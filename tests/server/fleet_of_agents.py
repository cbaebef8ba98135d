"""File servers for tests, whose agents speak the real protocol."""

from typing import Any

import httpx
from fastapi.testclient import TestClient

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
