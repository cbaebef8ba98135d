"""How one server process bears many agents: latency of its API, memory, database, as agents grow.

A real `backstay server` on the loopback address; simulated agents (simulated_agents.py) in processes of their
own, held open by it; so many backups at once, each reporting every two seconds and sending small packs
through the gateway; meanwhile one reader asks a fixed set of pages of the API again and again.

    python bench/agents_load.py --work DIR [--agents N ...] [--backups N] [--seconds N] [--postgres] [--soak]

Server, agents and reader share the machine's cores: the figures are those of a server with less than its own.
The agents run at a lower priority, for those of a fleet run elsewhere. Each asks for work as often as a real
one (held open for 25 s), and reports as often (every 2 s); backups are far shorter than real ones, so that
more of them begin and end. `--soak` hastens both, and judges whether the server's memory grows.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlalchemy import select

import machine
from backstay.server.access import Permission, Role
from backstay.server.database import Database
from backstay.server.repositories import default_repository
from backstay.server.sign_in import hash_of
from backstay.server.tables import Administrator, ApiToken, BackupSetRow, FileServer
from backstay.testing.postgres import running_postgres

_AGENTS = Path(__file__).with_name("simulated_agents.py")
_HELD_P95 = 0.1
_PAUSE = 0.02
_FLAT = 0.03
_READY_SECONDS = 300


@dataclass
class Measured:
    """What was measured with so many agents."""

    agents: int
    backups: int
    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    cpu_seconds: float = 0.0
    database_bytes: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    failures: int = 0
    leases: int = 0
    reports: int = 0
    within: float = float("nan")
    reasons: set[str] = field(default_factory=set)

    def percentile(self, share: float, page: str = "") -> float:
        """Of all pages, or of one; seconds."""
        found = sorted(
            self.latencies[page] if page else [one for all_ in self.latencies.values() for one in all_]
        )
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


class Server:
    """A running server, and an administrator's way to it."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database or str(folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        words = [sys.executable, "-m", "backstay.cli", "server", "--folder", str(folder), "--tls", "off"]
        words += ["--storage", str(folder / "repository"), "--host", "127.0.0.1", "--port", str(port)]
        words += ["--database", self.database, "--log-level", "warning", "--url", self.url]
        with (folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.http = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)

    def wait(self) -> None:
        """Until it answers; then sign in."""
        ends = time.monotonic() + _READY_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > ends:
                raise SystemExit((self.folder / "server.log").read_text())
            with contextlib.suppress(httpx.HTTPError):
                self.http.get("/openapi.json")
                break
            time.sleep(0.2)
        self.http.headers["authorization"] = f"Bearer {self._token()}"

    def _token(self) -> str:
        secret = secrets.token_urlsafe(16)
        now = datetime.now(UTC)
        database = Database(self.database)
        with database.begin() as db:
            person = Administrator(
                name="bench", role=Role.ADMINISTRATOR.value, password_hash="", created_at=now
            )
            db.add(person)
            db.flush()
            db.add(
                ApiToken(
                    name="bench",
                    administrator_id=person.id,
                    secret_hash=hash_of(secret),
                    scopes=[one.value for one in Permission],
                    created_at=now,
                )
            )
        database.close()
        return secret

    def metric(self, name: str, label: str = "") -> float:
        """A metric's value; several series, or those with a label, add up."""
        text = self.http.get(f"{self.url}/metrics").text
        series = re.findall(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for labels, value in series if label in labels)

    def answered(self, route: str, bound: str = "+Inf") -> float:
        """How many requests of routes that begin so it answered within so many seconds, as it counts."""
        text = self.http.get(f"{self.url}/metrics").text
        pattern = rf'^backstay_http_request_seconds_bucket{{([^}}]*route="{route}[^}}]*)}} (\S+)$'
        series = re.findall(pattern, text, re.MULTILINE)
        return sum(float(value) for labels, value in series if f'le="{bound}"' in labels)

    def memory(self) -> int:
        """Resident bytes: VmRSS of proc(5)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def cpu(self) -> float:
        """Seconds of processor time so far: utime and stime of proc(5)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self.http.close()
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def agents(server: Server, count: int, processes: int, options: argparse.Namespace) -> Iterator[None]:
    """So many agents, enrolled and asking for work."""
    token = server.http.post("/enrolment-tokens", json={"valid_seconds": 86400}).json()["token"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(processes):
            first = number * count // processes
            folder = server.folder / f"agents-{number}"
            folder.mkdir()
            plan = {
                "url": server.url,
                "enrolment_token": token,
                "first": first,
                "count": (number + 1) * count // processes - first,
                "folder": str(folder),
                "backup_seconds": options.backup_seconds,
                "pause_seconds": options.pause_seconds,
                "poll_seconds": options.poll_seconds,
            }
            (folder / "plan.json").write_text(json.dumps(plan))
            environment = os.environ | {
                "BACKSTAY_STATE": str(folder / "state"),
                "BACKSTAY_CACHE": str(folder / "cache"),
            }
            with (folder / "log").open("wb") as log:
                words = [sys.executable, str(_AGENTS), str(folder / "plan.json")]
                started.append(
                    subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
                )
        ends = time.monotonic() + _READY_SECONDS
        while (connected := server.metric("backstay_agents_connected")) < count:
            if time.monotonic() > ends:
                said = "".join(log.read_text()[-2000:] for log in server.folder.glob("agents-*/log"))
                said += (server.folder / "server.log").read_text()[-4000:]
                raise SystemExit(f"only {connected:.0f} of {count} agents have connected:\n{said}")
            time.sleep(2)
        yield
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait()


def _sets(server: Server, folder: Path) -> list[int]:
    """A set for each file server, of one small folder; made in the database, for that is not measured."""
    folder.mkdir()
    (folder / "file").write_bytes(os.urandom(10_000))
    now = datetime.now(UTC)
    database = Database(server.database)
    with database.begin() as db:
        repository = default_repository(db)
        assert repository is not None
        rows = [
            BackupSetRow(
                file_server_id=number,
                repository_id=repository.id,
                name=f"data-{number}",
                paths=[str(folder)],
                policy_layer={"schedules": [{"rule": "0 3 * * *"}]},
                created_at=now,
                updated_at=now,
            )
            for number in db.scalars(select(FileServer.id))
        ]
        db.add_all(rows)
        db.flush()
        numbers = [row.id for row in rows]
    database.close()
    return numbers


def _keep_running(server: Server, sets: list[int], measured: Measured, ending: threading.Event) -> None:
    """Ask for backups, so that as many as wanted run at any time."""
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=server.http.headers, timeout=60) as http:
        position = 0
        while not ending.wait(1.0):
            states = ["queued", "waiting_for_agent", "running"]
            open_jobs = http.get("/jobs", params={"state": states, "limit": 1000}).json()["items"]
            measured.running.append(sum(job["state"] == "running" for job in open_jobs))
            measured.memory.append(server.memory())
            for _ in range(measured.backups - len(open_jobs)):
                http.post(f"/backup-sets/{sets[position % len(sets)]}/backup")
                position += 1


def _pages(server: Server, sets: list[int]) -> dict[str, str]:
    """What is read: lists as the console asks for them, and single things."""
    job = server.http.get("/jobs", params={"limit": 1}).json()["items"]
    pages = {
        "file servers, 100": "/file-servers?limit=100",
        "one file server": "/file-servers/1",
        "backup sets, 100": "/backup-sets?limit=100",
        "one backup set": f"/backup-sets/{sets[0]}",
        "jobs, 50": "/jobs?limit=50",
        "running jobs": "/jobs?state=running&limit=50",
        "restore points, 50": "/restore-points?limit=50",
        "active alerts": "/alerts?active=true&limit=50",
        "policies": "/policies",
    }
    if job:
        pages["one job"] = f"/jobs/{job[0]['id']}"
    return pages


def measure(options: argparse.Namespace, work: Path, count: int, database: str) -> Measured:
    """Measure with so many agents."""
    folder = work / f"{count}-agents"
    folder.mkdir(mode=0o700)
    measured = Measured(count, min(options.backups, max(1, count // 2)))
    server = Server(folder, database)
    try:
        server.wait()
        with agents(server, count, options.processes, options):
            sets = _sets(server, folder / "source")
            ending = threading.Event()
            driver = threading.Thread(target=_keep_running, args=(server, sets, measured, ending))
            driver.start()
            time.sleep(options.settle)
            pages = _pages(server, sets)
            before = _counts(server)
            cpu, began = server.cpu(), time.monotonic()
            while time.monotonic() - began < options.seconds:
                for name, path in pages.items():
                    asked = time.perf_counter()
                    answer = server.http.get(path)
                    measured.latencies.setdefault(name, []).append(time.perf_counter() - asked)
                    measured.failures += not answer.is_success
                    time.sleep(_PAUSE)
            measured.seconds = time.monotonic() - began
            measured.cpu_seconds = server.cpu() - cpu
            asked, soon, leases, reports = (b - a for a, b in zip(before, _counts(server), strict=True))
            measured.within, measured.leases, measured.reports = soon / asked, int(leases), int(reports)
            ending.set()
            driver.join()
            measured.database_bytes = int(server.metric("backstay_database_bytes"))
            for state in ("succeeded", "succeeded_with_warnings", "failed", "aborted"):
                measured.ended[state] = int(server.metric("backstay_jobs_last_day", f'state="{state}"'))
            bad = server.http.get("/jobs", params={"state": ["failed", "aborted"], "limit": 1000}).json()
            measured.reasons = {job["reason"] for job in bad["items"]}
    except httpx.HTTPError as error:
        said = (folder / "server.log").read_text()[-4000:]
        ended = server.process.poll()
        raise SystemExit(
            f"the server does not answer: {error!r}; it ended with {ended}; its log:\n{said}"
        ) from None
    finally:
        server.close()
    print(f"{count} agents: p95 {measured.percentile(0.95) * 1000:.0f} ms", flush=True)
    return measured


def _counts(server: Server) -> tuple[float, float, float, float]:
    return (
        server.answered("/api/"),
        server.answered("/api/", str(_HELD_P95)),
        server.answered("/agent/v1/lease"),
        server.answered("/agent/v1/jobs/{job_id}/report"),
    )


def growth(memory: Sequence[int], seconds: float) -> tuple[float, float]:
    """By how much memory grew from the second fifth to the last: the share, and bytes an hour."""
    fifth = max(1, len(memory) // 5)
    early, late = statistics.median(memory[fifth : 2 * fifth] or memory), statistics.median(memory[-fifth:])
    return late / early - 1, (late - early) / (seconds * 0.7) * 3600


def report(rows: Sequence[Measured]) -> list[str]:
    """Markdown: a row for each number of agents, and the pages at the greatest."""
    lines = [
        "| agents | backups at once | requests | p50 | p95 | p99 | server's memory, first to last "
        "| its cores used | database | jobs that ended well / badly |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in rows:
        asked = sum(len(all_) for all_ in one.latencies.values())
        percentiles = " | ".join(f"{one.percentile(share) * 1000:.0f} ms" for share in (0.5, 0.95, 0.99))
        good = one.ended["succeeded"] + one.ended["succeeded_with_warnings"]
        bad = one.ended["failed"] + one.ended["aborted"]
        running = statistics.median(one.running) if one.running else 0
        third = max(1, len(one.memory) // 5)
        first, last = statistics.mean(one.memory[:third]), statistics.mean(one.memory[-third:])
        lines.append(
            f"| {one.agents:,} | {running:.0f} | {asked:,} | {percentiles} "
            f"| {first / 1e6:.0f} → {last / 1e6:.0f} MB | {one.cpu_seconds / one.seconds:.2f} "
            f"| {one.database_bytes / 1e6:.1f} MB | {good:,} / {bad:,} |"
        )
    most = rows[-1]
    lines += ["", f"With {most.agents:,} agents, page by page:", ""]
    lines += ["| page | requests | p50 | p95 | p99 |", "| --- | ---: | ---: | ---: | ---: |"]
    for page, found in most.latencies.items():
        cells = " | ".join(f"{most.percentile(share, page) * 1000:.0f} ms" for share in (0.5, 0.95, 0.99))
        lines.append(f"| {page} | {len(found):,} | {cells} |")
    p95, failures = most.percentile(0.95), sum(one.failures for one in rows)
    lines += [
        "",
        f"- p95 below {_HELD_P95 * 1000:.0f} ms with {most.agents:,} agents: "
        + ("**holds**" if p95 < _HELD_P95 else f"**misses: {p95 * 1000:.0f} ms**"),
        f"- by the server's own clock {most.within:.1%} of the API's answers began within "
        f"{_HELD_P95 * 1000:.0f} ms",
        f"- the agents' pace: {most.leases / most.seconds:.0f} leases and {most.reports / most.seconds:.0f} "
        "reports a second",
        f"- requests that failed: {failures}",
        *(
            f"- a job ended badly: {reason}"
            for reason in sorted({r for one in rows for r in one.reasons})[:10]
        ),
    ]
    return lines


def soaked(one: Measured, seconds: float) -> list[str]:
    """Markdown: whether memory stayed flat."""
    share, an_hour = growth(one.memory, seconds)
    good = one.ended["succeeded"] + one.ended["succeeded_with_warnings"]
    verdict = "**flat**" if share < _FLAT else "**grows**"
    return [
        f"- memory while {one.leases:,} leases, {one.reports:,} reports and {good:,} backups were answered: "
        f"{verdict} ({share:+.1%} from the second fifth to the last, {an_hour / 1e6:+.0f} MB an hour)"
    ]


def main(arguments: Sequence[str]) -> None:
    """Measure, print, and append to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="a folder for everything, removed afterwards")
    add("--agents", type=int, nargs="+", default=[100, 300, 1000], help="numbers of agents, ascending")
    add("--backups", type=int, default=50, help="backups at once")
    add("--processes", type=int, default=2, help="processes that the agents are spread over")
    add("--seconds", type=float, default=120, help="how long is measured with each number of agents")
    add("--settle", type=float, default=20, help="seconds of load before that")
    add("--backup-seconds", type=float, default=60, help="how long each backup sends packs")
    add("--pause-seconds", type=float, default=4, help="between the packs of one backup")
    add("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    add("--poll-seconds", type=float, default=25, help="how long an agent's question for work is held open")
    add("--soak", action="store_true", help="many short backups and questions: does memory grow?")
    add("--results", type=Path, help="append to this record")
    add("--quick", action="store_true", help="tiny sizes: a trial of the bench, no measurement")
    options = parser.parse_args(arguments)
    # Whoever ends the bench early ends its server and agents, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if options.soak:
        options.agents, options.backups, options.poll_seconds = [300], 20, 2.5
        options.backup_seconds, options.pause_seconds = 4, 1
    if options.quick:
        options.agents, options.backups, options.processes = [4], 2, 1
        options.seconds, options.settle, options.backup_seconds, options.pause_seconds = 2, 1, 1, 0.5
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve() / "agents"
    work.mkdir()
    try:
        lines = machine.describe(work)
        lines += [
            f"- one server process on {'PostgreSQL' if options.postgres else 'SQLite'}; "
            f"{options.seconds:.0f} s each; agents ({options.processes} processes), reader and server share "
            "the cores",
            f"- repeat: `{machine.repeatable('agents_load.py', arguments, ('--work', '--results'))}`",
        ]
        lines += [machine.TRIAL] if options.quick else []
        with contextlib.ExitStack() as stack:
            postgres = stack.enter_context(running_postgres()) if options.postgres else None
            rows = [
                measure(options, work, count, postgres.new_database() if postgres else "")
                for count in options.agents
            ]
        lines += [
            "",
            *report(rows),
            *(soaked(rows[-1], options.settle + options.seconds) if options.soak else []),
        ]
    finally:
        shutil.rmtree(work)
    print("\n".join(lines))
    if options.results is not None:
        machine.append(options.results, "Simulated agents", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
