"""Agents for agents_load.py: the real protocol over real HTTP, many in one process.

    python bench/simulated_agents.py PLAN

PLAN is a JSON file: url, enrolment_token, first, count, folder, backup_seconds, pause_seconds, poll_seconds.
Each agent enrols and then asks for work, as an agent does, held open by the server. A backup that it is given
runs in a thread: the real reporter, packs of a real writing session through the gateway, and a real backup of
one small folder at the end. The process ends when its standard input is closed.
"""

import asyncio
import json
import os
import secrets
import sys
import threading
import time
from pathlib import Path

import httpx

from backstay.agent.access import access_for
from backstay.agent.backup_job import back_up
from backstay.agent.reporter import Reporter
from backstay.agent.repository import WriteOnlyRepository
from backstay.domain.errors import BackstayError
from backstay.protocol.client import AgentClient, read_token
from backstay.protocol.report import EnrolReply, EnrolRequest, Outcome
from backstay.protocol.ticket import BackupTicket, Greeting, LeaseReply
from backstay.repository.credential import load_credential
from backstay.repository.pack import BlobKind

_NICE = 5
_BLOBS, _BLOB_BYTES = 4, 16 << 10


class SimulatedAgent:
    """One agent."""

    def __init__(self, plan: dict[str, object], name: str, http: httpx.AsyncClient) -> None:
        self._plan = plan
        self._name = name
        self._http = http
        self._instance = secrets.token_hex(12)
        self._identity: EnrolReply | None = None
        self._busy: threading.Thread | None = None

    async def run(self) -> None:
        """Enrol, then ask for work for ever."""
        self._identity = await self._enrol()
        first = True
        while True:
            try:
                await self._ask(first=first)
                first = False
            except httpx.HTTPError as error:
                print(f"{self._name}: {type(error).__name__} {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(1 + secrets.randbelow(2000) / 1000)

    async def _enrol(self) -> EnrolReply:
        request = EnrolRequest(secret=read_token(str(self._plan["enrolment_token"])).s, name=self._name)
        answer = await self._http.post("/agent/v1/enrol", content=request.model_dump_json())
        if not answer.is_success:
            raise SystemExit(f"{self._name} was not enrolled: {answer.status_code} {answer.text}")
        return EnrolReply.model_validate_json(answer.content)

    async def _ask(self, *, first: bool) -> None:
        assert self._identity is not None
        busy = self._busy is not None and self._busy.is_alive()
        greeting = Greeting(
            instance=self._instance,
            first=first,
            machine_id=f"machine of {self._name}",
            boot_id=self._instance,
            system="linux",
            time_ns=time.time_ns(),
            room=0 if busy else 1,
            wait_seconds=0 if busy or first else float(str(self._plan["poll_seconds"])),
        )
        identity = f"Agent {self._identity.file_server_id}:{self._identity.secret}"
        answer = await self._http.post(
            "/agent/v1/lease",
            content=greeting.model_dump_json(),
            headers={"authorization": identity, "x-backstay-instance": self._instance},
        )
        answer.raise_for_status()
        reply = LeaseReply.model_validate_json(answer.content)
        if isinstance(reply.ticket, BackupTicket):
            self._busy = threading.Thread(target=self._back_up, args=(reply.ticket,), daemon=True)
            self._busy.start()
        elif busy:
            await asyncio.sleep(5)

    def _back_up(self, ticket: BackupTicket) -> None:
        assert self._identity is not None
        url = str(self._plan["url"])
        client = AgentClient(url, "", (self._identity.file_server_id, self._identity.secret), self._instance)
        reporter = Reporter(client, ticket.job, ticket.epoch, lambda: False, 0)
        try:
            self._send_packs(client, ticket, reporter)
            outcome = back_up(client, ticket, reporter, [])
        except BackstayError as error:
            outcome = Outcome(epoch=ticket.epoch, state="failed", reason=error.what, retryable=False)
        finally:
            reporter.close()
        try:
            client.outcome(ticket.job, outcome)
        except BackstayError as error:
            print(f"{self._name}: {error.what}", file=sys.stderr, flush=True)
        client.close()

    def _send_packs(self, client: AgentClient, ticket: BackupTicket, reporter: Reporter) -> None:
        access = access_for(client.channel(ticket.job, ticket.epoch), ticket.policy.policy(), reporter)
        keys, _ = load_credential(ticket.repository.credential.encode("ascii"), "the ticket's credential")
        cache = Path(str(self._plan["folder"])) / "cache" / self._name
        repository = WriteOnlyRepository(access.gateway, access.storage, access.retrying, keys, cache=cache)
        ends = time.monotonic() + float(str(self._plan["backup_seconds"]))
        session = repository.begin("backup", ticket.backup_set, workers=1)
        try:
            while time.monotonic() < ends:
                for _ in range(_BLOBS):
                    session.put(BlobKind.DATA, os.urandom(_BLOB_BYTES))
                session.checkpoint()
                reporter.sleep(float(str(self._plan["pause_seconds"])))
        finally:
            session.abandon()
            session.close()


def _tell_defect(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        print(f"an agent ended: {task.exception()!r}", file=sys.stderr, flush=True)


def _connection(url: str) -> httpx.AsyncClient:
    """A way to the server for one agent: one for all would look through all connections at each request."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"content-type": "application/json"},
        timeout=httpx.Timeout(90.0, connect=30.0),
        transport=httpx.AsyncHTTPTransport(verify=False),
    )


async def _main(plan: dict[str, object]) -> None:
    os.nice(_NICE)
    count, first = int(str(plan["count"])), int(str(plan["first"]))
    tasks = []
    for number in range(first, first + count):
        agent = SimulatedAgent(plan, f"agent-{number:05}", _connection(str(plan["url"])))
        tasks.append(asyncio.create_task(agent.run()))
        tasks[-1].add_done_callback(_tell_defect)
        await asyncio.sleep(0.01)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_main(json.loads(Path(sys.argv[1]).read_text())))
