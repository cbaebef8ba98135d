"""How many crashes Backstay survives: every crash point of small runs, every fault, hundreds of kills.

Three parts, each with what must hold afterwards (tests/property/test_power_cut.py and
tests/integration/test_crash_*.py try a sample of the same):

    power cuts  a simulated disk loses power before each operation of a backup, prune or rebuild; of what
                was not synced several random parts survive; the scan state is kept, lost, or put back
    faults      each operation of a backup, prune or rebuild fails in each of five ways
    kills       real processes on a real folder get SIGKILL at random moments

After each: every restore point that was reported reads back exactly, verify finds nothing, the next
backup succeeds and sends nothing that is there, and prunes end with each needed blob stored once.
"""

import argparse
import contextlib
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import machine as bench_machine
from backstay.domain.errors import BackstayError
from backstay.repository.rebuild import run_rebuild
from backstay.storage.interface import Storage
from backstay.testing.crash_kill import Victim
from backstay.testing.crash_rig import (
    DAY,
    STATES,
    Machine,
    check_everything,
    cut_power_at,
    load,
    save,
    small_sizes,
)
from backstay.testing.faulty_storage import FaultyStorage

PARTS = CUTS, FAULTS, KILLS = ("cuts", "faults", "kills")
LETTERS = "ELSFX"
_HEADER = ["| what | crash points | ways | tried | failures |", "| --- | ---: | ---: | ---: | ---: |"]

Act = Callable[[Machine, Storage], object]


class Tally:
    """Counts what was tried, and keeps the first failures."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.tried = 0
        self.failed = 0

    def check(self, what: str, judge: Callable[[], object]) -> None:
        """Try one crash point."""
        self.tried += 1
        try:
            judge()
        except (AssertionError, BackstayError):
            self.failed += 1
            print(f"FAILED: {what}", file=sys.stderr)
            if self.failed <= 3:
                traceback.print_exc()

    def close(self, what: str, points: int, ways: str) -> None:
        """End a row of the table."""
        self.rows.append(f"| {what} | {points} | {ways} | {self.tried:,} | {self.failed} |")
        print(self.rows[-1], flush=True)


class Scene(NamedTuple):
    """Something to interrupt, and how the machine is prepared for it."""

    name: str
    prepare: Callable[[Machine, Path], object]
    act: Act


def nothing_yet(machine: Machine, folder: Path) -> None:
    """A source that was never backed up."""


def some_points(machine: Machine, folder: Path) -> None:
    """Three restore points with changes; the scan state after the first is kept as an older copy."""
    random = Random(2)
    for tag in "bcd":
        machine.backup()
        if not (folder / "older").exists():
            save(machine, folder / "older")
        machine.fill("a", 8, random)
        machine.fill(tag, 8, random)


def interrupted(machine: Machine, folder: Path) -> None:
    """The same, and a backup that lost power in the middle."""
    some_points(machine, folder)
    assert cut_power_at(machine, save(machine, folder / "before"), machine.backup, 20, Random(1))
    machine.fill("e", 8, Random(3))


def all_expired(machine: Machine, folder: Path) -> None:
    """A scan state whose restore points are gone, with what they held."""
    some_points(machine, folder)
    for _ in range(2):
        machine.prune(lambda points: [])


def backup(machine: Machine, storage: Storage) -> None:
    """One backup."""
    machine.backup(storage)


def prune(machine: Machine, storage: Storage) -> None:
    """Take out two restore points, rewrite, condemn and delete."""
    machine.prune(lambda points: points[2:], storage)


def prune_with_grace(machine: Machine, storage: Storage) -> None:
    """Condemn, and delete two days later."""
    machine.prune(lambda points: points[2:], storage, grace_seconds=DAY)
    machine.shift += 2 * DAY
    machine.prune(lambda points: points[2:], storage, grace_seconds=DAY)


def rebuild(machine: Machine, storage: Storage) -> None:
    """Make the index anew."""
    run_rebuild(machine.open(storage))


SCENES = [
    Scene("first backup", nothing_yet, backup),
    Scene("incremental backup", some_points, backup),
    Scene("backup that resumes an interrupted one", interrupted, backup),
    Scene("backup with an outdated scan state", all_expired, backup),
    Scene("prune: expire, rewrite, delete at once", some_points, prune),
    Scene("prune in two phases", some_points, prune_with_grace),
    Scene("prune after an interrupted backup", interrupted, prune),
    Scene("rebuild", some_points, rebuild),
]


def set_up(scene: Scene, folder: Path) -> Machine:
    """The machine of a scene."""
    os.environ["BACKSTAY_STATE"] = str(folder / "state")
    machine = Machine.new(folder)
    machine.fill("a", 20, Random(1))
    scene.prepare(machine, folder)
    return machine


def cut_everywhere(scene: Scene, folder: Path, subsets: int) -> Tally:
    """Cut the power at every operation: for each state of the scan state, with several parts surviving."""
    machine, tally = set_up(scene, folder), Tally()
    saved = save(machine, folder / "saved")
    states = STATES if (folder / "older").exists() else STATES[:2]
    number, cut = 0, True
    while cut:
        number += 1
        for way in range(subsets * len(states)):
            random = Random(number * 1000 + way)
            act = lambda storage: scene.act(machine, storage)  # noqa: E731 - the scene does not change
            cut = cut_power_at(
                machine,
                saved,
                act,
                number,
                random,
                state=states[way % len(states)],
                older=folder / "older" / "state",
                cache_kept=random.random() < 0.5,
            )
            if not cut:
                break
            tally.check(f"{scene.name}, operation {number}, way {way}", lambda: check_everything(machine))
    tally.close(f"power cut: {scene.name}", number - 1, f"{subsets} × {len(states)}")
    return tally


def fail_everywhere(scene: Scene, folder: Path) -> Tally:
    """Let each operation fail in each way."""
    machine, tally = set_up(scene, folder), Tally()
    saved = save(machine, folder / "saved")

    def meet(script: str) -> FaultyStorage:
        faulty = FaultyStorage(load(machine, saved), script, delay=0)
        with contextlib.suppress(BackstayError):
            scene.act(machine, faulty)
        return faulty

    operations = meet("").counts.total()
    for place in range(operations):
        for letter in LETTERS:

            def judge(script: str = "." * place + letter) -> None:
                meet(script)
                check_everything(machine)

            tally.check(f"{scene.name}, operation {place + 1} with {letter}", judge)
    tally.close(f"fault: {scene.name}", operations, str(len(LETTERS)))
    return tally


def kill(folder: Path, kills: int, seed: int) -> Tally:
    """Kill real processes."""
    os.environ["BACKSTAY_STATE"] = str(folder / "state")
    victim, tally = Victim(folder, Random(seed)), Tally()
    while victim.kills.total() < kills and not tally.failed:
        tally.check(f"kill, seed {seed}", victim.round)
    tally.tried = victim.kills.total()
    which = ", ".join(f"{count} {action}s" for action, count in sorted(victim.kills.items()))
    tally.close(f"SIGKILL: {which}", tally.tried, "random moments")
    return tally


def main(arguments: list[str]) -> int:
    """Run the campaign, print the table, and add it to the record; 1 where anything failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="DIR", help="a folder of its own is made there")
    add("--subsets", type=int, default=3, metavar="N", help="random parts of what was not synced, per cut")
    add("--kills", type=int, default=300, metavar="N", help="processes to kill")
    add("--seed", type=int, default=1, metavar="N", help="of the kills")
    add(
        "--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}"
    )
    add("--results", type=Path, metavar="FILE", help="a record to add to")
    add("--quick", action="store_true", help="two scenes and five kills: a trial of the campaign")
    options = parser.parse_args(arguments)
    work = options.work.resolve() / f"crash-{os.getpid()}"
    began, tallies = time.monotonic(), list[Tally]()
    try:
        with small_sizes():
            scenes = SCENES[::6] if options.quick else SCENES
            for place, scene in enumerate(scenes if CUTS in options.only else ()):
                subsets = 1 if options.quick else options.subsets
                tallies.append(cut_everywhere(scene, work / f"cut-{place}", subsets))
                shutil.rmtree(work / f"cut-{place}")
            for place, scene in enumerate(() if options.quick or FAULTS not in options.only else scenes):
                tallies.append(fail_everywhere(scene, work / f"fault-{place}"))
                shutil.rmtree(work / f"fault-{place}")
            if KILLS in options.only:
                tallies.append(kill(work / "kills", 5 if options.quick else options.kills, options.seed))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    tried, failed = sum(tally.tried for tally in tallies), sum(tally.failed for tally in tallies)
    lines = bench_machine.describe(options.work)
    lines.append(f"- {tried:,} crash points tried, {failed} failures, in {time.monotonic() - began:,.0f} s")
    lines.append(
        "- what must hold after each is in the head of `crash_campaign.py`; sizes of frames, packs, runs and "
        "checkpoints are made small for it"
    )
    repeat = bench_machine.repeatable("crash_campaign.py", arguments, ("--work", "--results"))
    lines.append(f"- repeat: `{repeat}`")
    lines += [bench_machine.TRIAL] if options.quick else []
    lines += ["", *_HEADER, *(row for tally in tallies for row in tally.rows)]
    print("\n".join(lines))
    if options.results is not None:
        bench_machine.append(options.results, "Crash points tried", lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
