"""A control plane with a past: file servers, sets, jobs, restore points and alerts, put into a database.

    python -m bench.console_seed FOLDER --file-servers 1000 --jobs 1000000

The names, sizes and outcomes are drawn from a fixed seed. No repository holds what the restore points name.
"""

import argparse
import hashlib
import random
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from backstay.server import administrators
from backstay.server.app import open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tables import (
    AlertRow,
    BackupSetRow,
    Base,
    ContentRuleRow,
    FileServer,
    JobMessage,
    JobProblem,
    JobRow,
    PolicyRow,
    RepositoryFigures,
    RestorePointRow,
)

NAME, PASSWORD = "maria", "correct horse battery"
_GIB = 1 << 30
_PLACES = ("berlin", "lyon", "oslo", "porto", "turin", "wien", "zagreb", "gent", "malmo", "york")
_SETS = (
    ("home", ["/home"]),
    ("projects", ["/srv/projects"]),
    ("database dumps", ["/var/backups/postgresql"]),
    ("web", ["/srv/www", "/etc/nginx"]),
)
_POLICIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "Nightly",
        "Every night, kept for three years",
        {"schedules": [{"rule": "30 22 * * *", "time_zone": "Europe/Berlin"}]},
    ),
    ("Hourly", "Office hours", {"schedules": [{"rule": "0 8-18 * * mon-fri", "time_zone": "Europe/Berlin"}]}),
    (
        "Archive",
        "Weekends",
        {"schedules": [{"rule": "0 3 * * sun"}], "window": {"starts": "03:00", "seconds": 14400}},
    ),
)
_ENDS = (
    ("succeeded", 9300, ""),
    ("succeeded_with_warnings", 480, ""),
    ("failed", 120, "the storage did not answer for an hour"),
    ("aborted", 40, "the agent was restarted while it ran"),
    ("cancelled", 30, "cancelled by maria"),
    ("skipped", 30, "the backup window closed at 06:00 UTC while it waited for the agent"),
)


def main() -> None:
    """Seed a new server's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--file-servers", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=3000)
    given = parser.parse_args()
    control = open_control(ServerSettings(folder=given.folder, tls="off"))
    control.repositories.ensure_first(control.settings.storage_location, control.clock())
    with control.database.begin() as db:
        administrators.create_first_administrator(db, now=control.clock(), name=NAME, password=PASSWORD)
    seed(control, given.file_servers, given.jobs)
    print(f"sign in as {NAME} with: {PASSWORD}")


def seed(control: Control, file_servers: int, jobs: int) -> None:
    """Fill the database of a new server."""
    now = control.clock()
    draw = random.Random(7)
    repository = _repository_of(control)
    begun = now - timedelta(days=365)
    _put(
        control,
        PolicyRow,
        (
            {"name": name, "comment": comment, "values": values, "created_at": begun, "updated_at": begun}
            for name, comment, values in _POLICIES
        ),
    )
    rule = "# made anew by every build\nnode_modules/\n*.o\n# films of the canteen\n[size>4GiB] *.mp4\n"
    _put(
        control,
        ContentRuleRow,
        (
            {
                "name": name,
                "comment": "",
                "text": text,
                "default_rules": True,
                "created_at": begun,
                "updated_at": begun,
            }
            for name, text in (("Source trees", rule), ("Nothing left out", ""))
        ),
    )
    _put(control, FileServer, _file_servers(file_servers, now, draw))
    sets = list(_backup_sets(file_servers, repository, begun))
    _put(control, BackupSetRow, iter(sets))
    _put(control, JobRow, _jobs(sets, jobs, repository, now, random.Random(11)))
    _put(control, RestorePointRow, _points(sets, jobs, repository, now, random.Random(11)))
    _put(control, JobMessage, _messages(jobs, now))
    _put(control, JobProblem, _problems(sets, jobs, now, random.Random(11)))
    _put(control, RepositoryFigures, _figures(repository, now))
    _put(control, AlertRow, _alerts(now, file_servers))


def _repository_of(control: Control) -> str:
    from backstay.server.repositories import default_repository

    with control.database.read() as db:
        row = default_repository(db)
        assert row is not None
        return row.id


def _put(control: Control, table: type[Base], rows: Iterator[dict[str, Any]]) -> None:
    while some := list(islice(rows, 20_000)):
        with control.database.begin() as db:
            db.execute(insert(table), some)


def _file_servers(number: int, now: datetime, draw: random.Random) -> Iterator[dict[str, Any]]:
    for one in range(number):
        silent = one % 9 == 4
        yield {
            "id": one + 1,
            "name": f"fs-{_PLACES[one % len(_PLACES)]}-{one // len(_PLACES) + 1:02}",
            "system": "Windows Server 2022" if one % 5 == 3 else "Debian 12",
            "version": "0.9.0",
            "agent_key_hash": hashlib.sha256(secrets.token_bytes(16)).hexdigest(),
            "address": f"10.4.{one // 250}.{one % 250 + 2}",
            "clock_offset": draw.uniform(-0.2, 0.2),
            "last_seen_at": now - (timedelta(hours=5) if silent else timedelta(seconds=-86400)),
            "enrolled_at": now - timedelta(days=300),
            "created_at": now - timedelta(days=300),
            "inventory": {},
            "policy_layer": {},
        }


def _backup_sets(file_servers: int, repository: str, begun: datetime) -> Iterator[dict[str, Any]]:
    number = 0
    for server in range(file_servers):
        for name, paths in _SETS[: 1 + server % 3]:
            number += 1
            yield {
                "id": number,
                "file_server_id": server + 1,
                "repository_id": repository,
                "policy_id": 1 + number % 3,
                "content_rule_id": 1 if number % 4 == 0 else None,
                "name": name,
                "paths": paths,
                "enabled": number % 11 != 0,
                # The scheduler of a server on this database has nothing to ask for.
                "scheduled_until": begun + timedelta(days=3650),
                "next_due_at": begun + timedelta(days=3650),
                "policy_layer": {},
                "created_at": begun,
                "updated_at": begun,
            }


def _drawn_jobs(
    sets: list[dict[str, Any]], jobs: int, now: datetime, draw: random.Random
) -> Iterator[dict[str, Any]]:
    """The same jobs for whoever asks with the same seed: number, set, times, state, sizes."""
    span = timedelta(days=365) if jobs > 20_000 else timedelta(days=30)
    states = [state for state, weight, _ in _ENDS for _ in range(weight)]
    for number in range(1, jobs + 1):
        of = sets[number % len(sets)]
        at = now - span + span * (number / (jobs + 1))
        state = draw.choice(states)
        size = int(draw.lognormvariate(3.2, 1.1) * _GIB)
        yield {
            "id": number,
            "set": of,
            "at": at,
            "state": state if of["id"] % 13 != 5 or number < jobs - 200 else "failed",
            "seconds": draw.uniform(8, 900),
            "size": size,
            "new": int(size * draw.uniform(0.001, 0.03)),
            "files": size // 90_000,
        }


def _jobs(
    sets: list[dict[str, Any]], jobs: int, repository: str, now: datetime, draw: random.Random
) -> Iterator[dict[str, Any]]:
    reasons = {state: reason for state, _, reason in _ENDS}
    for one in _drawn_jobs(sets, jobs, now, draw):
        running = one["id"] > jobs - 2
        begun = int(one["at"].timestamp() * 1e9)
        good = one["state"].startswith("succeeded")
        steps = [
            _step("request", begun, 0.1, {"paths": 1}, ["requested by the schedule"]),
            _step("type", begun + 10**8, 0.1, {}, ["incremental: restore point 7f3a09c21b4e is its base"]),
            _step(
                "recovery point / scan",
                begun + 2 * 10**8,
                3.2,
                {"files": one["files"], "folders": one["files"] // 12, "excluded": 12},
                ["btrfs snapshot of /srv"],
            ),
            _step(
                "estimate",
                begun + 34 * 10**8,
                0.1,
                {
                    "files": one["files"],
                    "bytes": one["size"],
                    "changed_files": one["new"] // 90_000,
                    "changed_bytes": one["new"],
                    "seconds": 95.0,
                },
                [],
            ),
            _step("transmit", begun + 35 * 10**8, one["seconds"], {"stored_bytes": one["new"] // 2}, []),
        ]
        if running:
            steps[-1] |= {"state": "running", "ended_ns": None, "figures": {}}
        elif good:
            steps.append(
                _step("clean up", begun + 36 * 10**8, 0.4, {}, ["deleted the btrfs snapshot of /srv"])
            )
        else:
            steps = steps[:1]
        yield {
            "id": one["id"],
            "kind": "backup",
            "state": "running" if running else one["state"],
            "trigger": "schedule" if one["id"] % 7 else "administrator",
            "requested_by": "the schedule" if one["id"] % 7 else NAME,
            "file_server_id": one["set"]["file_server_id"],
            "backup_set_id": one["set"]["id"],
            "repository_id": repository,
            "request": {},
            "created_at": one["at"],
            "scheduled_for": one["at"],
            "started_at": one["at"],
            "ended_at": None if running else one["at"] + timedelta(seconds=one["seconds"]),
            "leased_until": now + timedelta(days=30) if running else None,
            "reason": "" if running else reasons[one["state"]],
            "steps": steps,
            "progress": {
                "step": "transmit",
                "files": 800,
                "bytes": one["new"] // 3,
                "expected_files": 2000,
                "expected_bytes": one["new"],
                "bytes_per_second": 212_000_000.0,
                "seconds_left": 31.0,
            }
            if running
            else {},
            "figures": {"bytes": one["size"], "stored_bytes": one["new"] // 2, "files": one["files"]}
            if good
            else {},
            "restore_point_id": _point_id(one["id"]) if good and not running else None,
            "problem_count": 3 if one["state"] == "succeeded_with_warnings" else 0,
        }


def _step(
    name: str, begun: int, seconds: float, figures: dict[str, Any], messages: list[str]
) -> dict[str, Any]:
    ends = begun + int(seconds * 1e9)
    return {
        "name": name,
        "state": "done",
        "started_ns": begun,
        "ended_ns": ends,
        "figures": figures,
        "messages": messages,
    }


def _point_id(job: int) -> str:
    return hashlib.sha256(f"point {job}".encode()).hexdigest()


def _points(
    sets: list[dict[str, Any]], jobs: int, repository: str, now: datetime, draw: random.Random
) -> Iterator[dict[str, Any]]:
    for one in _drawn_jobs(sets, jobs, now, draw):
        if not one["state"].startswith("succeeded") or one["id"] > jobs - 2:
            continue
        old = now - one["at"] > timedelta(days=30) and one["at"].day != 1
        yield {
            "id": _point_id(one["id"]),
            "repository_id": repository,
            "file_server_id": one["set"]["file_server_id"],
            "backup_set_id": one["set"]["id"],
            "job_id": one["id"],
            "sequence": one["id"],
            "type": "incremental",
            "committed_at": one["at"] + timedelta(seconds=one["seconds"]),
            "manifest_time": one["at"],
            "files": one["files"],
            "folders": one["files"] // 12,
            "bytes": one["size"],
            "read_bytes": one["new"],
            "new_bytes": one["new"],
            "stored_bytes": one["new"] // 2,
            "problems": 3 if one["state"] == "succeeded_with_warnings" else 0,
            "expired_at": now if old else None,
            "expired_reason": "older than 30 days" if old else "",
        }


def _messages(jobs: int, now: datetime) -> Iterator[dict[str, Any]]:
    for job in range(max(1, jobs - 500), jobs + 1):
        for level, text in (
            ("info", "requested by the schedule"),
            ("info", "taken by the agent"),
            ("warning", "/srv/projects/.lock changed while it was read"),
        ):
            yield {"job_id": job, "at": now, "level": level, "text": text}


def _problems(
    sets: list[dict[str, Any]], jobs: int, now: datetime, draw: random.Random
) -> Iterator[dict[str, Any]]:
    for one in _drawn_jobs(sets, jobs, now, draw):
        if one["state"] != "succeeded_with_warnings" or one["id"] < jobs - 20_000:
            continue
        for path, reason, grade in (
            (b"/srv/projects/mail/inbox.mbox", "changed while it was read", "changed"),
            (b"/srv/projects/<b>bold</b>\x1b[31m\xff.txt", "permission denied", "unreadable"),
            (b"/srv/projects/vm/disk.qcow2", "changed while it was read", "changed"),
        ):
            yield {"job_id": one["id"], "path": path, "reason": reason, "grade": grade}


def _figures(repository: str, now: datetime) -> Iterator[dict[str, Any]]:
    for day in range(180):
        stored = int((400 + 6.5 * day + 9 * (day % 7)) * _GIB)
        yield {
            "repository_id": repository,
            "at": now - timedelta(days=180 - day),
            "stored_bytes": stored,
            "source_bytes": int(stored * (2.6 + day / 80)),
            "packs": stored >> 25,
            "restore_points": 40 + day,
            "free_bytes": None,
        }


def _alerts(now: datetime, file_servers: int) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "agent_silent",
        "severity": "warning",
        "subject": "file server 5",
        "text": "the agent of fs-turin-01 has been silent for 5 hours",
        "hint": "look whether the machine is up, and start the agent there",
        "file_server_id": min(5, file_servers),
        "raised_at": now - timedelta(hours=5),
        "last_seen_at": now,
    }
    yield {
        "kind": "failed",
        "severity": "critical",
        "subject": "set 5",
        "text": "the last backup of fs-oslo-01/projects failed: the storage did not answer for an hour",
        "hint": "look at the job's messages",
        "backup_set_id": min(5, file_servers),
        "raised_at": now - timedelta(hours=2),
        "last_seen_at": now,
    }


if __name__ == "__main__":
    main()
