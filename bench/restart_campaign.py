"""Agents and the server are killed at random moments, round after round: what becomes of the backups?

    python bench/restart_campaign.py --work DIR [--minutes N] [--seed N] [--postgres]

Real processes: one server, two agents, a backup of each in every round, of a folder that changes between the
rounds. At a random moment an agent, the server, or all of them get SIGKILL, and are started again a little
later. What must hold: a backup whose agent lived succeeds; one whose agent was killed is aborted with the
reason, or had succeeded already, and the next one succeeds; no job stays open; at the end every restore point
that was reported is there, the newest restore exactly, verify finds nothing, and no blob was stored twice.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import machine
from backstay.domain.job import GOOD_STATES, JobState
from backstay.repository.verify import run_verify
from backstay.server.tables import JobRow, RestorePointRow
from backstay.testing.fleet_rig import Agent, FleetRig, ServerPlace, same_tree
from backstay.testing.postgres import running_postgres

_AGENT, _SERVER, _ALL = "an agent", "the server", "all of them"
_ENDS_WITHIN = 180.0
_LEGAL_REASONS = ("was restarted while it ran",)


class Campaign:
    """The rig, and what was counted."""

    def __init__(self, rig: FleetRig, work: Path, seed: int, megabytes: float) -> None:
        self.rig = rig
        self.random = Random(seed)
        self.work = work
        self.megabytes = megabytes
        self.kills: Counter[str] = Counter()
        self.moments: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.failures: list[str] = []
        self.points = 0
        self.agents = [rig.started("one"), rig.started("two")]
        self.sources = [work / f"source-{agent.name}" for agent in self.agents]
        self.sets: list[int] = []
        for agent, source in zip(self.agents, self.sources, strict=True):
            source.mkdir()
            for number in range(60):
                self._write(source / f"file-{number:03}")
            self.sets.append(rig.set_of(agent, [source], policy={"retries": {"count": 0}}))
            rig.until_connected(agent)

    def _write(self, path: Path) -> None:
        path.write_bytes(self.random.randbytes(int(self.random.random() ** 3 * self.megabytes * 60_000)))

    def round(self) -> None:
        """Change some files, ask for backups, kill, start again, and see what became of them."""
        for source in self.sources:
            for number in self.random.sample(range(60), 12):
                self._write(source / f"file-{number:03}")
        jobs = [self.rig.back_up(number) for number in self.sets]
        time.sleep(self.random.uniform(0.0, 3.0))
        victim = self.random.choice([_AGENT, _AGENT, _SERVER, _SERVER, _ALL])
        killed = self._kill(victim)
        for job, agent, number in zip(jobs, self.agents, self.sets, strict=True):
            self._judge(job, was_killed=agent in killed)
            if agent in killed:
                self.rig.until_connected(agent)
                following = self.rig.ended(self.rig.back_up(number), _ENDS_WITHIN)
                self._count("the next one", following, good=following.state in GOOD_STATES)

    def _kill(self, victim: str) -> list[Agent]:
        killed = [] if victim == _SERVER else list(self.agents)
        if victim == _AGENT:
            killed = [self.random.choice(self.agents)]
        self.kills[victim] += 1
        for agent in killed:
            agent.kill()
        if victim != _AGENT:
            self.rig.server.kill()
        for job in self.rig.jobs()[-2:]:
            step = next((one["name"] for one in reversed(job.steps)), "request")
            self.moments[f"{JobState(job.state).in_words}, {step}"] += 1
        time.sleep(self.random.uniform(0.0, 1.5))
        if victim != _AGENT:
            self.rig.server.start()
        for agent in killed:
            agent.start()
        return killed

    def _judge(self, number: int, *, was_killed: bool) -> None:
        job = self.rig.ended(number, _ENDS_WITHIN)
        good = job.state in GOOD_STATES
        if was_killed and job.state == JobState.ABORTED.value:
            good = any(reason in job.reason for reason in _LEGAL_REASONS)
        self._count("its agent was killed" if was_killed else "its agent lived", job, good=good)

    def _count(self, what: str, job: JobRow, *, good: bool) -> None:
        self.ends[f"{what}: {JobState(job.state).in_words}"] += 1
        if not good:
            log = "; ".join(self.rig.messages(job.id)[-5:])
            self.failures.append(f"job {job.id} ({what}) is {job.state}: {job.reason} [{log}]")

    def check(self) -> None:
        """What must hold at the end."""
        rig = self.rig
        still_open = [job.id for job in rig.jobs() if not JobState(job.state).ended]
        if still_open:
            self.failures.append(f"jobs that never ended: {still_open}")
        good = [job for job in rig.jobs() if job.state in GOOD_STATES and job.kind == "backup"]
        with rig.control.database.read() as db:
            points = {row.id for row in db.query(RestorePointRow)}
        lost = [job.id for job in good if job.restore_point_id not in points]
        if lost:
            self.failures.append(f"jobs whose restore points are not there: {lost}")
        for agent, source, number in zip(self.agents, self.sources, self.sets, strict=True):
            newest = [job for job in good if job.backup_set_id == number][-1]
            target = self.work / f"restored-{agent.name}"
            restore = rig.ended(rig.restore(agent, str(newest.restore_point_id), target), _ENDS_WITHIN)
            differs = same_tree(source, target / source.relative_to("/"))
            if restore.state not in GOOD_STATES or differs:
                self.failures.append(f"the restore of {agent.name}: {restore.reason} {differs[:300]}")
            twice = rig.blobs_stored_twice(agent)
            if twice:
                self.failures.append(f"{len(twice)} blobs of {agent.name} were sent again")
        if not run_verify(rig.repository(), data_percent=100).intact:
            self.failures.append("verify found damage")
        self.points = len(points)


def _lines(campaign: Campaign, rounds: int, seconds: float) -> list[str]:
    kills = ", ".join(f"{who} {count}" for who, count in sorted(campaign.kills.items()))
    lines = [f"- {rounds} rounds in {seconds / 60:.0f} minutes; killed: {kills}"]
    lines += ["", "| a backup, | jobs |", "| --- | ---: |"]
    lines += [f"| {what} | {count} |" for what, count in sorted(campaign.ends.items())]
    moments = ", ".join(f"{what} ({count})" for what, count in campaign.moments.most_common(12))
    lines += ["", f"- the jobs when they were hit: {moments}"]
    lines.append(f"- restore points: {campaign.points}, all that were reported are there")
    lines += [f"- **FAILED**: {failure}" for failure in campaign.failures[:20]]
    if not campaign.failures:
        lines.append("- jobs that ended wrongly: 0; lost restore points: 0; blobs sent again: 0; damage: 0")
    return lines


def main(arguments: Sequence[str]) -> None:
    """Run the campaign, print, and append to the results; exits with 1 where something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="a folder for everything, removed afterwards")
    add("--minutes", type=float, default=5, help="how long rounds are begun")
    add("--seed", type=int, default=1, help="of everything that is left to chance")
    add("--megabytes", type=float, default=20, help="how large each source is")
    add("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    add("--results", type=Path, help="append to this record")
    add("--quick", action="store_true", help="one round: a trial of the bench")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve() / "restarts"
    work.mkdir()
    lines = machine.describe(work)
    try:
        with ExitStack() as stack:
            postgres = stack.enter_context(running_postgres()) if options.postgres else None
            database = postgres.new_database() if postgres else ""
            place = ServerPlace(work / "server", database=database)
            rig = stack.enter_context(FleetRig(work, place))
            campaign = Campaign(rig, work, options.seed, options.megabytes)
            rounds, began = 0, time.monotonic()
            while not rounds or (not options.quick and time.monotonic() - began < options.minutes * 60):
                campaign.round()
                rounds += 1
                print(f"round {rounds}: {len(campaign.failures)} failures", file=sys.stderr, flush=True)
            campaign.check()
            seconds = time.monotonic() - began
    finally:
        shutil.rmtree(work)
    lines += [
        f"- one server on {'PostgreSQL' if options.postgres else 'SQLite'}, two agents, "
        f"{len(os.sched_getaffinity(0))} cores for all",
        f"- repeat: `{machine.repeatable('restart_campaign.py', arguments, ('--work', '--results'))}`",
        *([machine.TRIAL] if options.quick else []),
        *_lines(campaign, rounds, seconds),
    ]
    print("\n".join(lines))
    if options.results is not None:
        machine.append(options.results, "Killed and started again", lines)
    sys.exit(1 if campaign.failures else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
