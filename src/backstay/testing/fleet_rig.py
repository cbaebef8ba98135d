"""A server and agents as real processes, to be killed, cut off and started again.

The server is `backstay server` on a port that stays, so that agents find it again; each agent is
testing.agent_worker in a folder of its own. What an administrator would do, and what the tests look at, goes
straight to the database.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import select

from backstay.agent.settings import AgentSettings
from backstay.domain.job import JobState, Trigger
from backstay.repository.layout import PACKS
from backstay.repository.pack import read_trailer
from backstay.repository.repository import Repository
from backstay.server import fleet, job_queue
from backstay.server.access import SYSTEM
from backstay.server.app import open_control
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.settings import ServerSettings
from backstay.server.tables import BackupSetRow, FileServer, JobMessage, JobRow, PackRow, RestorePointRow
from backstay.testing.agent_worker import GO_ON, PAUSED, Seam

PATIENCE = 60.0
"""Seconds that the rig waits for anything before the test has failed."""

_END_SECONDS = 20.0
_Found = TypeVar("_Found")


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def until(what: str, look: Callable[[], _Found | None], seconds: float = PATIENCE) -> _Found:
    """What `look` finds, as soon as it finds something. Raises AssertionError when it takes too long."""
    ends = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends, f"waited for {what} for {seconds:.0f} seconds"
        time.sleep(0.05)


class Running:
    """One process of ours, with its output in a file."""

    def __init__(self, words: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = _END_SECONDS) -> int:
        """Its exit code, when it has ended. Raises AssertionError where it does not end."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end; it said:\n{self.said()[-3000:]}") from None

    def said(self) -> str:
        """All that it and those before it with the same log have said."""
        return self._log.read_text(errors="replace")


class ServerPlace:
    """Where a server runs, again and again: folder, port, database.

    Args:
        tls: as `backstay server --tls`.
        host: address to listen at.
        more: further words for `backstay server`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        database: str = "",
        storage: str = "",
        tls: str = "off",
        host: str = "127.0.0.1",
        port: int = 0,
        inside: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.url = f"{'http' if tls == 'off' else 'https'}://{host}:{self.port}"
        self.settings = ServerSettings(
            folder=folder,
            database=database,
            storage=storage,
            host=host,
            port=self.port,
            public_url=self.url,
            tls=tls,
            background=False,
        )
        self._inside = list(inside)
        self._environment = environment or {}
        self._more = list(more)
        self._running: Running | None = None

    @property
    def running(self) -> Running:
        """Its process."""
        assert self._running is not None
        return self._running

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = self.settings
        words = [*self._inside, sys.executable, "-m", "backstay.cli", "server", "--json"]
        words += ["--folder", str(self.folder), "--host", settings.host, "--port", str(self.port)]
        words += ["--url", self.url, "--tls", settings.tls]
        words += ["--database", settings.database, "--storage", settings.storage, *self._more]
        log = self.folder / "server.log"
        before = log.read_text().count('"ready"') if log.exists() else 0
        self._running = running = Running(words, log, self._environment)

        def is_ready() -> bool:
            assert running.process.poll() is None, f"the server ended:\n{running.said()[-3000:]}"
            return running.said().count('"ready"') > before

        until("the server to be ready", is_ready)
        if not self._inside:
            until("the server to answer", self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.settings.host, self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL."""
        self.running.kill()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        return self.running.stop()

    def restart(self) -> None:
        """SIGKILL, and start."""
        self.kill()
        self.start()

    def end(self) -> None:
        """Whatever it is doing."""
        if self._running is not None and self._running.process.poll() is None:
            self._running.kill()


class Agent:
    """An enrolled agent's folder, and its process."""

    def __init__(self, folder: Path, name: str, inside: Sequence[str] = ()) -> None:
        self.folder = folder
        self.name = name
        self._inside = list(inside)
        self._running: Running | None = None

    @property
    def settings(self) -> AgentSettings:
        """What enrolment gave it."""
        return AgentSettings.load(self.folder)

    @property
    def running(self) -> Running:
        """Its process."""
        assert self._running is not None
        return self._running

    def start(self, seam: Seam | None = None, environment: dict[str, str] | None = None) -> None:
        """Start it, with a seam or as it is."""
        for name in (PAUSED, GO_ON):
            (self.folder / name).unlink(missing_ok=True)
        words = [*self._inside, sys.executable, "-m", "backstay.testing.agent_worker", str(self.folder)]
        words.append(msgspec.json.encode(seam or Seam()).decode())
        own = {"BACKSTAY_STATE": str(self.folder / "state"), "BACKSTAY_CACHE": str(self.folder / "cache")}
        self._running = Running(words, self.folder / "agent.log", own | (environment or {}))

    def until_paused(self) -> None:
        """Wait until it waits at one of its places."""

        def is_paused() -> bool:
            assert self.running.process.poll() is None, f"the agent ended:\n{self.said()[-3000:]}"
            return (self.folder / PAUSED).exists()

        until(f"the agent {self.name} to pause", is_paused)

    def go_on(self) -> None:
        """Let it go on from there."""
        (self.folder / GO_ON).touch()
        until("the agent to go on", lambda: not (self.folder / GO_ON).exists())

    def kill(self) -> None:
        """SIGKILL."""
        self.running.kill()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        return self.running.stop()

    def said(self) -> str:
        """Its log."""
        return self.running.said()

    def copy(self, folder: Path) -> "Agent":
        """Another agent with the same identity."""
        shutil.copytree(self.folder, folder)
        (folder / "agent.log").unlink(missing_ok=True)
        return Agent(folder, self.name, self._inside)

    def end(self) -> None:
        """Whatever it is doing."""
        if self._running is not None and self._running.process.poll() is None:
            self._running.kill()


class FleetRig:
    """One server and its agents; all of it ends with the context.

    Args:
        folder: for everything.
        place: where the server runs; by default in `folder`, with SQLite, over plain HTTP.
    """

    def __init__(self, folder: Path, place: ServerPlace | None = None) -> None:
        self._folder = folder
        self.server = place or ServerPlace(folder / "server")
        self.agents: list[Agent] = []
        self._control: Control | None = None

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_agents()
        self.server.end()
        if self._control is not None:
            self._control.database.close()

    def end_agents(self) -> None:
        """Whatever they are doing. One that is idle asks for work three times a second, and costs as much."""
        for agent in self.agents:
            agent.end()
        self.agents.clear()

    @property
    def control(self) -> Control:
        """The server's database and repositories, opened beside it."""
        if self._control is None:
            self._control = open_control(self.server.settings)
        return self._control

    def token(self) -> str:
        """An enrolment token."""
        from backstay.server.tls import fingerprint_of

        control = self.control
        with control.database.begin() as db:
            fingerprint = fingerprint_of(control.settings)
            made = fleet.create_enrolment_token(db, SYSTEM, now=control.clock(), fingerprint=fingerprint)
        return made.token

    def enrol(self, name: str, *, inside: Sequence[str] = (), url: str = "") -> Agent:
        """Enrol a new agent, not started yet, by the command line."""
        agent = Agent(self._folder / f"agent-{name}", name, inside)
        words = [*inside, sys.executable, "-m", "backstay.cli", "agent", "enrol"]
        words += [url or self.server.url, self.token(), "--name", name]
        environment = {**os.environ, "BACKSTAY_AGENT": str(agent.folder)}
        subprocess.run(words, env=environment, check=True, capture_output=True)
        self.agents.append(agent)
        return agent

    def started(self, name: str, seam: Seam | None = None) -> Agent:
        """Enrol a new agent, and start it."""
        agent = self.enrol(name)
        agent.start(seam)
        return agent

    def until_connected(self, agent: Agent) -> None:
        """Wait until the agent's present process speaks for its file server."""
        began = self.control.clock()

        def is_there() -> bool:
            assert agent.running.process.poll() is None, f"the agent ended:\n{agent.said()[-3000:]}"
            with self.control.database.read() as db:
                server = fleet.find_file_server(db, agent.name)
                return server.last_seen_at is not None and server.last_seen_at > began

        until(f"the agent {agent.name} to be connected", is_there)

    def set_of(
        self, agent: Agent, paths: Iterable[Path], name: str = "default", policy: dict[str, Any] | None = None
    ) -> int:
        """Make a backup set, or change it; its number."""
        control = self.control
        now = control.clock()
        with control.database.begin() as db:
            server = fleet.find_file_server(db, agent.name)
            row = db.scalars(
                select(BackupSetRow).where(
                    BackupSetRow.file_server_id == server.id, BackupSetRow.name == name
                )
            ).first()
            if row is None:
                repository = default_repository(db)
                assert repository is not None
                row = BackupSetRow(
                    file_server_id=server.id, repository_id=repository.id, name=name, created_at=now
                )
                db.add(row)
            row.paths = [str(path) for path in paths]
            row.policy_layer = policy or {}
            row.updated_at = now
            db.flush()
            return row.id

    def back_up(self, set_id: int, trigger: Trigger = Trigger.ADMINISTRATOR) -> int:
        """Request a backup; its job's number."""
        control = self.control
        with control.database.begin() as db:
            backup_set = db.get_one(BackupSetRow, set_id)
            job = job_queue.request_backup(
                db, backup_set, now=control.clock(), trigger=trigger, requested_by="somebody"
            )
            return job.id

    def restore(self, agent: Agent, point_id: str, target: Path, **request: Any) -> int:
        """Request a restore onto the agent's file server; its job's number."""
        control = self.control
        with control.database.begin() as db:
            point = db.get_one(RestorePointRow, point_id)
            encoded = base64.b64encode(os.fsencode(target)).decode()
            job = job_queue.request_restore(
                db,
                fleet.find_file_server(db, agent.name),
                now=control.clock(),
                requested_by="somebody",
                repository_id=point.repository_id,
                restore_point_id=point_id,
                request={"target": encoded, **request},
            )
            return job.id

    def job(self, number: int) -> JobRow:
        """The job as it is now."""
        with self.control.database.read() as db:
            return job_queue.get_job(db, number)

    def ended(self, number: int, seconds: float = PATIENCE) -> JobRow:
        """The job, when it has ended."""

        def look() -> JobRow | None:
            job = self.job(number)
            return job if JobState(job.state).ended else None

        return until(f"job {number} to end", look, seconds)

    def in_state(self, number: int, state: JobState) -> JobRow:
        """The job, when it is in that state."""

        def look() -> JobRow | None:
            job = self.job(number)
            return job if job.state == state.value else None

        return until(f"job {number} to be {state.in_words}", look)

    def jobs(self) -> list[JobRow]:
        """All jobs, the oldest first."""
        with self.control.database.read() as db:
            return list(db.scalars(select(JobRow).order_by(JobRow.id)))

    def messages(self, number: int) -> list[str]:
        """The job's log."""
        with self.control.database.read() as db:
            query = select(JobMessage.text).where(JobMessage.job_id == number).order_by(JobMessage.id)
            return list(db.scalars(query))

    def packs(self) -> dict[str, int]:
        """Digest and size of every pack that the server knows of."""
        with self.control.database.read() as db:
            return {row.digest: row.size for row in db.scalars(select(PackRow))}

    def file_server(self, agent: Agent) -> FileServer:
        """The agent's file server as it is now."""
        with self.control.database.read() as db:
            return fleet.find_file_server(db, agent.name)

    def blobs_stored_twice(self, agent: Agent) -> list[bytes]:
        """Ids of blobs that lie in more than one pack of the agent's: sent again for nothing."""
        repository = self.repository()
        with self.control.database.read() as db:
            query = select(PackRow.digest).join(FileServer, FileServer.id == PackRow.file_server_id)
            own = set(db.scalars(query.where(FileServer.name == agent.name)))
        counted: Counter[bytes] = Counter()
        for info in repository.storage.list(PACKS):
            if info.name.rpartition("/")[2] not in own:
                continue
            trailer = read_trailer(repository.storage, info.name, repository.secrets.catalogue_key, info.size)
            counted.update(blob.id for blob in trailer.blobs())
        return [blob for blob, count in counted.items() if count > 1]

    def repository(self) -> Repository:
        """The default repository, as the server opens it."""
        with self.control.database.read() as db:
            row = default_repository(db)
        assert row is not None
        return self.control.repositories.get(row.id)


def same_tree(first: Path, second: Path) -> str:
    """What rsync would have to do to make the second like the first; nothing: they are the same."""
    words = ["rsync", "-aHAXn", "--delete", "--itemize-changes", f"{first}/", f"{second}/"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout


def events(text: str) -> list[dict[str, Any]]:
    """The JSON lines in an output."""
    found = []
    for line in text.splitlines():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found
