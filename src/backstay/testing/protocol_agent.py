"""An agent that speaks the real protocol and backs nothing up: enrols, leases, reports, says how it ended."""

import base64
import json
import secrets
import time
from typing import Any, Protocol


class Reply(Protocol):
    """What an HTTP client answers: httpx and Starlette's test client both fit."""

    status_code: int

    def json(self) -> Any:
        """The body."""


class Client(Protocol):
    """An HTTP client."""

    def post(self, url: str, *, json: Any, headers: dict[str, str]) -> Any:
        """Send a message, and return the Reply."""


class ProtocolAgent:
    """One agent process of a file server.

    Args:
        client: reaches the server.
        file_server_id, secret: as enrolment gave them.
        machine_id, boot_id: of its machine, and of the machine's start.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        file_server_id: int,
        secret: str,
        *,
        machine_id: str = "",
        boot_id: str = "",
    ) -> None:
        self.client = client
        self.name = name
        self.file_server_id = file_server_id
        self.secret = secret
        self.machine_id = machine_id or f"machine of {name}"[:64]
        self.boot_id = boot_id or secrets_of(8)
        self.instance = secrets_of(16)
        self.busy: set[int] = set()
        self._first = True

    @classmethod
    def enrol(cls, client: Client, token: str, name: str, **about: str) -> "ProtocolAgent":
        """Enrol as `name` with a token as the server shows it."""
        answer = client.post(
            "/agent/v1/enrol", json={"secret": secret_in(token), "name": name, "system": "Linux"}, headers={}
        )
        assert answer.status_code == 200, answer.text
        identity = answer.json()
        return cls(client, name, identity["file_server_id"], identity["secret"], **about)

    def restarted(self, *, machine: bool = False) -> "ProtocolAgent":
        """The agent process that takes this one's place, after its machine was started anew or not."""
        boot = secrets_of(8) if machine else self.boot_id
        return ProtocolAgent(
            self.client,
            self.name,
            self.file_server_id,
            self.secret,
            machine_id=self.machine_id,
            boot_id=boot,
        )

    def lease(
        self, *, room: int = 1, wait_seconds: float = 0, clock_ahead: float = 0
    ) -> dict[str, Any] | None:
        """Ask for a job: its ticket, or None. Raises AssertionError where the server refuses."""
        answer = self.ask_for_work(room=room, wait_seconds=wait_seconds, clock_ahead=clock_ahead)
        assert answer.status_code == 200, answer.text
        ticket: dict[str, Any] | None = answer.json()["ticket"]
        if ticket is not None:
            self.busy.add(ticket["job"])
        return ticket

    def ask_for_work(
        self,
        *,
        room: int = 1,
        wait_seconds: float = 0,
        clock_ahead: float = 0,
        looks: bool = False,
        log: list[dict[str, Any]] | None = None,
    ) -> Any:
        """As `lease`, with the answer as it came.

        Args:
            looks: whether it also answers questions about its disk.
            log: lines of its log, as protocol.ticket.LogLine.
        """
        greeting = {
            "instance": self.instance,
            "machine_id": self.machine_id,
            "boot_id": self.boot_id,
            "system": "Linux",
            "version": "test",
            "time_ns": time.time_ns() + int(clock_ahead * 1e9),
            "first": self._first,
            "busy": sorted(self.busy)[-64:],
            "room": room,
            "wait_seconds": wait_seconds,
            "looks": looks,
            "log": log or [],
        }
        answer = self._post("/agent/v1/lease", greeting)
        self._first = self._first and answer.status_code != 200
        return answer

    def report(self, ticket: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Say how a job goes; the reply."""
        answer = self._post(f"/agent/v1/jobs/{ticket['job']}/report", {"epoch": ticket["epoch"], **fields})
        assert answer.status_code == 200, answer.text
        reply: dict[str, Any] = answer.json()
        return reply

    def outcome(self, ticket: dict[str, Any], state: str = "succeeded", **fields: Any) -> dict[str, Any]:
        """Say how a job ended; the reply."""
        body = {"epoch": ticket["epoch"], "state": state, **fields}
        answer = self._post(f"/agent/v1/jobs/{ticket['job']}/outcome", body)
        self.busy.discard(ticket["job"])
        assert answer.status_code == 200, answer.text
        reply: dict[str, Any] = answer.json()
        return reply

    def say(self, job: int, what: str, body: dict[str, Any]) -> Any:
        """A "report" or "outcome" of any job, and the answer as it came."""
        return self._post(f"/agent/v1/jobs/{job}/{what}", body)

    def tell_inventory(self, inventory: dict[str, Any]) -> None:
        """Say what there is on the file server."""
        answer = self._post("/agent/v1/inventory", inventory)
        assert answer.status_code == 204, answer.text

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        headers = {
            "Authorization": f"Agent {self.file_server_id}:{self.secret}",
            "X-Backstay-Instance": self.instance,
        }
        return self.client.post(url, json=body, headers=headers)


def secret_in(token: str) -> str:
    """The secret inside an enrolment token as the server shows it."""
    body = token.removeprefix("backstay-enrol-")
    secret: str = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["s"]
    return secret


def secrets_of(count: int) -> str:
    """Random hexadecimal digits."""
    return secrets.token_hex(count // 2)


def step(name: str, state: str, messages: list[str] | None = None) -> dict[str, Any]:
    """A step as agents report it."""
    now = time.time_ns()
    ended = None if state == "running" else now
    return {"name": name, "state": state, "started_ns": now, "ended_ns": ended, "messages": messages or []}
