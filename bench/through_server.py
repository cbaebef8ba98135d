"""A backup through server and agent, beside `backstay repo backup` of the same tree, on one machine, in turn.

Each round makes a fresh repository for either; then each backs up, and backs up again. Of the direct way the
whole process counts; through the server the whole job, from its request to its end, beside a server that has
nothing else to do. Sources are read once before, so that the cache is warm.

    python bench/through_server.py --work DIR [--small DIR] [--rounds N]
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import machine
from backstay.testing.fleet_rig import FleetRig, ServerPlace
from contenders import find_backstay
from process import run
from sources import measure_tree, read_once

LEAST = 0.8
"""The speed that a backup through server and agent has to reach, as a part of the direct one's."""

_GENERATOR = Path(__file__).with_name("sources.py")
_GRANULARITY_SECONDS = 1.1
_LONGEST_SECONDS = 3600.0
_WORKS = ("first backup", "unchanged second backup")

Times = dict[str, dict[str, list[float]]]


def play_round(source: Path, work: Path, times: Times, *, tls: str, server_first: bool) -> None:
    """One round of either way."""
    direct = find_backstay(None)
    home = work / "home"
    home.mkdir()
    run(direct.command(direct.init, home))
    with FleetRig(work / "fleet", ServerPlace(work / "fleet" / "server", tls=tls)) as rig:
        agent = rig.started("here")
        rig.until_connected(agent)
        set_id = rig.set_of(agent, [source])
        time.sleep(_GRANULARITY_SECONDS)
        for point, step in enumerate(_WORKS, 1):

            def directly(step: str = step, point: int = point) -> None:
                command = direct.command(direct.backup, home, source=source, point=point)
                times[step]["direct"].append(run(command).wall)

            def through(step: str = step) -> None:
                job = rig.ended(rig.back_up(set_id), _LONGEST_SECONDS)
                if job.state != "succeeded" or job.ended_at is None:
                    raise SystemExit(f"job {job.id} is {job.state}: {job.reason}")
                times[step]["server"].append((job.ended_at - job.created_at).total_seconds())

            for way in (through, directly) if server_first else (directly, through):
                subprocess.run(["sync"], check=True)
                way()
            one, other = times[step]["direct"][-1], times[step]["server"][-1]
            print(f"{source.name}: {step}: direct {one:.2f} s, server {other:.2f} s", flush=True)
    shutil.rmtree(home)
    shutil.rmtree(work / "fleet")


def table(source: Path, times: Times) -> list[str]:
    """The medians of a case as a Markdown table; ratios are of the rounds."""
    files, size = measure_tree(source)
    lines = ["", f"**{source.name} files**: {files:,} files, {size / 1e9:.2f} GB", ""]
    lines += ["| work | repo backup | through the server | speed, as a part | figure to hold |"]
    lines += ["| --- | ---: | ---: | ---: | --- |"]
    for step in _WORKS:
        direct, server = times[step]["direct"], times[step]["server"]
        parts = [one / other for one, other in zip(direct, server, strict=True)]
        verdict = ""
        if step == _WORKS[0]:
            verdict = f"holds {LEAST}" if median(parts) >= LEAST else f"**misses {LEAST}**"
        spread = f"**{median(parts):.2f}** ({min(parts):.2f}–{max(parts):.2f})"
        lines.append(f"| {step} | {median(direct):.2f} s | {median(server):.2f} s | {spread} | {verdict} |")
    return lines


def sources(work: Path, options: argparse.Namespace) -> list[Path]:
    """The trees that are backed up."""
    found: list[Path] = []
    if options.only != "large":
        if options.small is None:
            _generate("small", str(work / "small"), str(options.files))
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", options.small, work / "small"], check=True)
        found.append(work / "small")
    if options.only != "small":
        _generate("large", str(work / "large"), str(options.large_files), str(options.large_bytes))
        found.append(work / "large")
    return found


def _generate(*arguments: str) -> None:
    subprocess.run([sys.executable, str(_GENERATOR), *arguments], check=True)


def main(arguments: Sequence[str]) -> None:
    """Run, print the tables, and add them to the record."""
    options = _options(arguments)
    work = options.work / "through-server"
    work.mkdir(parents=True)
    lines = machine.describe(options.work)
    places = ("--work", "--small", "--results")
    lines += [
        f"- rounds, in turn: {options.rounds}; medians; parts are the median of the rounds' (least–greatest)",
        "- direct: the whole process; through the server: from the request of the job to its end",
        f"- between agent and server: TLS {options.tls}",
        f"- repeat: `{machine.repeatable('through_server.py', arguments, places)}`",
    ]
    lines += [machine.TRIAL] if options.quick else []
    try:
        for source in sources(work, options):
            read_once(source)
            times: Times = defaultdict(lambda: defaultdict(list))
            for number in range(options.rounds):
                play_round(source, work, times, tls=options.tls, server_first=bool(number % 2))
            lines += table(source, times)
    finally:
        shutil.rmtree(work)
    print("\n".join(lines))
    if options.results is not None:
        machine.append(options.results, "Through the server", lines)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="DIR", help="where trees and repositories are made")
    add("--small", type=Path, metavar="DIR", help="a tree of many small files  [default: generated]")
    add("--files", type=int, default=100_000, metavar="N", help="how many small files are generated")
    add("--large-files", type=int, default=4, metavar="N", help="how many large files are generated")
    add("--large-bytes", type=int, default=1 << 30, metavar="N", help="their size")
    add("--only", choices=("small", "large"), help="one case")
    add("--tls", choices=("self-signed", "off"), default="self-signed", help="as the server is started with")
    add("--rounds", type=int, default=3, metavar="N")
    add("--results", type=Path, metavar="FILE", help="a record to add to")
    add("--quick", action="store_true", help="tiny trees, one round: a trial of the bench, no measurement")
    options = parser.parse_args(arguments)
    if options.quick:
        options.files, options.large_files, options.large_bytes, options.rounds = 200, 2, 3 << 20, 1
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
