"""Whoever holds all that a stolen file server has: its identity, its credential, and our source code."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec
from blake3 import blake3

from backstay.protocol.client import AgentClient
from backstay.protocol.report import Outcome
from backstay.protocol.ticket import BackupTicket, Greeting, RestoreTicket
from backstay.repository.credential import load_credential
from backstay.repository.encryption import FrameKey, seal
from backstay.repository.index import Index
from backstay.repository.layout import object_name
from backstay.repository.manifest import Manifest, encode_manifest
from backstay.repository.pack import BlobKind
from backstay.repository.packer import Packer
from backstay.repository.session import KIND, VERSION, SessionInfo
from backstay.storage.gateway import GatewayStorage
from backstay.testing.fleet_rig import Agent, FleetRig
from backstay.testing.memory_storage import MemoryStorage


class Thief:
    """Speaks for a stolen file server, whose own agent is not running."""

    def __init__(self, rig: FleetRig, agent: Agent) -> None:
        self.rig = rig
        self.agent = agent
        self.settings = agent.settings
        self.instance = os.urandom(12).hex()
        identity = (self.settings.file_server_id, self.settings.secret)
        self.client = AgentClient(self.settings.url, self.settings.certificate, identity, self.instance)
        # It knows how its machine is called.
        self.machine = rig.file_server(agent).machine_id
        self.greet()

    def greet(self, room: int = 0) -> BackupTicket | RestoreTicket | None:
        """Ask for work."""
        greeting = Greeting(
            instance=self.instance,
            machine_id=self.machine,
            boot_id="stolen",
            time_ns=time.time_ns(),
            room=room,
            wait_seconds=0,
        )
        return self.client.lease(greeting).ticket

    def ticket(self, number: int) -> BackupTicket | RestoreTicket:
        """That of a job which was ordered for it."""
        ticket = self.greet(room=1)
        assert ticket is not None and ticket.job == number
        self.job, self.epoch = ticket.job, ticket.epoch
        self.backup_set = ticket.backup_set if isinstance(ticket, BackupTicket) else ""
        self.secrets, _ = load_credential(ticket.repository.credential.encode("ascii"), "stolen")
        self.storage = GatewayStorage(self.client.channel(ticket.job, ticket.epoch))
        return ticket

    def give_back(self) -> None:
        """End the job as failed."""
        self.client.outcome(self.job, Outcome(epoch=self.epoch, state="failed", retryable=False))

    def raw(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        job: str | None = None,
    ) -> httpx.Response:
        """A request of any shape."""
        sent = {
            "authorization": f"Agent {self.settings.file_server_id}:{self.settings.secret}",
            "x-backstay-instance": self.instance,
            "x-backstay-job": f"{self.job}:{self.epoch}" if job is None else job,
            **(headers or {}),
        }
        url = httpx.URL(self.settings.url)
        target = b"/agent/v1/" + path.encode()
        # Plain HTTP: to load whom the system trusts takes longer than the request.
        with httpx.Client(timeout=60, verify=False) as http:
            # The path goes out as it is: httpx would tidy it.
            request = http.build_request(
                method, url.copy_with(raw_path=target), content=content, headers=sent
            )
            return http.send(request)

    def begin(self, kind: str = "backup", session: bytes | None = None) -> bytes:
        """Register a writing session."""
        session = session or os.urandom(16)
        info = SessionInfo(VERSION, session, kind, "stolen", self.backup_set, 1, time.time_ns())
        sealed = seal(self.secrets.catalogue_key, KIND, msgspec.msgpack.encode(info))
        self.storage.put(f"sessions/{session.hex()}/begin", [bytes(sealed)])
        return session

    def pack(self, session: bytes, blobs: Mapping[bytes, bytes]) -> tuple[str, bytes]:
        """Name and bytes of a pack that says of each content that it has that id."""
        memory = MemoryStorage()
        ids = {content: blob_id for blob_id, content in blobs.items()}
        packer = Packer(
            memory,
            Index([], frozenset(), frozenset()),
            blob_id=lambda data: ids[bytes(data)],
            key=FrameKey.new(self.secrets.public_key, self.secrets.repository_id),
            catalogue_key=self.secrets.catalogue_key,
            session=session,
        )
        for content in ids:
            packer.put(BlobKind.DATA, content)
        packer.flush()
        self.run = packer.encode_indexed()
        packer.close()
        [info] = list(memory.list("packs/"))
        return info.name, memory.get(info.name)

    def sealed_run(self, encoded: bytes) -> tuple[str, bytes]:
        """Name and bytes of an index run."""
        from backstay.repository.index import MAGIC

        sealed = bytes(seal(self.secrets.catalogue_key, MAGIC, encoded))
        return object_name("index/", blake3(sealed).digest()), sealed

    def sealed_manifest(self, like: Manifest, **changes: object) -> tuple[str, bytes]:
        """Name and bytes of a manifest."""
        sealed, digest = encode_manifest(msgspec.structs.replace(like, **changes), self.secrets.catalogue_key)
        return object_name("manifests/", digest), sealed


def only_file(folder: Path, content: bytes) -> Path:
    """A folder with one file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(content)
    return folder
