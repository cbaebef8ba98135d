"""How Backstay's time and memory grow: with files, with bytes, with restore points.

Times should grow in proportion to files and bytes, memory should not grow; a further
incremental backup should cost the same whether it is the second or the hundredth. For
each the verdict is worked out from the figures.

    python bench/growth.py --work DIR [--files N ...] [--gigabytes N ...] [--points N]
"""

import argparse
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import machine
from contenders import Contender, find_backstay, repository
from process import Measured, RunFailed, run
from sources import measure_tree, read_once

_GENERATOR = Path(__file__).with_name("sources.py")
_GRANULARITY_SECONDS = 1.1
_LARGE_FILE_BYTES = 1 << 30
_POINT_FILES = 10_000

_LINEAR_EXPONENT = 1.1
"""Time that grows with a power of the size up to this counts as linear."""

_FLAT_MEMORY = 1.25
"""Memory for ten times as much may be greater by this factor and still count as flat."""

_FLAT_TIME = 1.5
"""The last backups may take longer than the first ones by this factor and still count as flat."""


_PRUNE = ("--keep-yearly", "1", "--grace-hours", "0")
"""Of points that were made within minutes only the newest stays."""


@dataclass
class Series:
    """Runs of each work by size, smallest size first."""

    title: str
    unit: str
    sizes: list[int] = field(default_factory=list)
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)

    def add(self, work: str, measured: Measured) -> None:
        """Append a run of the size at hand."""
        self.runs.setdefault(work, []).append(measured)
        print(
            f"{self.title}: {self.sizes[-1]:,} {self.unit}: {work}: {measured.wall:.2f} s, "
            f"{measured.peak_memory / 1e6:.0f} MB",
            flush=True,
        )

    def table(self) -> list[str]:
        """Markdown: a row a size, and a verdict for each work below."""
        lines = [
            f"| {self.unit} | " + " | ".join(self.runs) + " | repository |",
            "| ---: |" + " ---: |" * (len(self.runs) + 1),
        ]
        for row, size in enumerate(self.sizes):
            cells = [
                f"{runs[row].wall:.2f} s, {runs[row].peak_memory / 1e6:.0f} MB" for runs in self.runs.values()
            ]
            lines.append(f"| {size:,} | {' | '.join(cells)} | {self.stored[row] / 1e6:,.1f} MB |")
        if len(self.sizes) > 1:
            lines.append("")
            lines += [f"- {work}: {self._verdict(runs)}" for work, runs in self.runs.items()]
        return lines

    def _verdict(self, runs: Sequence[Measured]) -> str:
        power = exponent(self.sizes, [one.wall for one in runs])
        factor = self.sizes[-1] / self.sizes[-2]
        more = (runs[-1].peak_memory / runs[-2].peak_memory) ** (math.log(10) / math.log(factor))
        time_word = "linear or better" if power <= _LINEAR_EXPONENT else "**worse than linear**"
        memory_word = "flat" if more <= _FLAT_MEMORY else "**grows**"
        return (
            f"time ~ size^{power:.2f}, {time_word}; memory × {more:.2f} for ten times as much "
            f"(last two sizes), {memory_word}"
        )


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The power p of the best fit value = c · size^p, by least squares of the logarithms."""
    xs = [math.log(size) for size in sizes]
    ys = [math.log(value) for value in values]
    middle_x, middle_y = mean(xs), mean(ys)
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / sum(
        (x - middle_x) ** 2 for x in xs
    )


def with_sizes(
    series: Series, backstay: Contender, work: Path, trees: Sequence[tuple[int, list[str]]]
) -> Series:
    """First and second backup, restore and verify of each tree."""
    for size, words in trees:
        series.sizes.append(size)
        source, home, target = work / "source", work / "home", work / "restored"
        _generate(words[0], str(source), *words[1:])
        read_once(source)
        time.sleep(_GRANULARITY_SECONDS)
        home.mkdir()
        target.mkdir()
        run(backstay.command(backstay.init, home))
        for step in ("first backup", "unchanged second backup"):
            series.add(step, run(backstay.command(backstay.backup, home, source=source)))
        series.stored.append(measure_tree(repository(home))[1])
        series.add("restore", run(backstay.command(backstay.restore, home, target=target)))
        if measure_tree(target) != measure_tree(source):
            raise SystemExit(f"the restore of {size:,} {series.unit} is not complete")
        series.add("verify", run(backstay.command(("repo", "verify", "{home}/repository"), home)))
        for folder in (source, home, target):
            shutil.rmtree(folder)
    return series


def with_points(backstay: Contender, work: Path, files: int, points: int) -> list[str]:
    """One restore point after the other, 1 % of the files changed before each: what each costs."""
    source, home = work / "source", work / "home"
    _generate("small", str(source), str(files))
    read_once(source)
    home.mkdir()
    run(backstay.command(backstay.init, home))
    backups: list[Measured] = []
    lines = [
        "| restore points | this backup | list | verify | prune to one | index | repository |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    looked_at = {1, points, *(10 * number for number in range(1, points // 10 + 1))}
    for point in range(1, points + 1):
        if point > 1:
            _generate("change", str(source), "0.01", "--seed", str(point))
        time.sleep(_GRANULARITY_SECONDS)
        backups.append(run(backstay.command(backstay.backup, home, source=source, point=point)))
        if point in looked_at:
            lines.append(_look(backstay, home, work / "copy", point, backups[-1]))
            print(lines[-1], flush=True)
    shutil.rmtree(source)
    shutil.rmtree(home)
    return [*lines, "", f"- {_points_verdict(backups)}"] if points > 1 else lines


def _look(backstay: Contender, home: Path, copy: Path, point: int, backup: Measured) -> str:
    listing = run(backstay.command(("repo", "points", "{home}/repository"), home))
    verify = run(backstay.command(("repo", "verify", "{home}/repository"), home))
    shutil.copytree(home, copy)
    prune = run(backstay.command(("repo", "prune", "{home}/repository", *_PRUNE), copy))
    shutil.rmtree(copy)
    cells = [f"{one.wall:.2f} s, {one.peak_memory / 1e6:.0f} MB" for one in (backup, listing, verify, prune)]
    index = measure_tree(repository(home) / "index")[1]
    stored = measure_tree(repository(home))[1]
    return f"| {point} | {' | '.join(cells)} | {index / 1e6:.2f} MB | {stored / 1e6:.1f} MB |"


def _points_verdict(backups: Sequence[Measured]) -> str:
    """Compares the first tenth of the incremental backups with the last."""
    some = max(1, len(backups) // 10)
    first, last = backups[1 : 1 + some], backups[-some:]
    times = median(one.wall for one in last) / median(one.wall for one in first)
    memory = median(one.peak_memory for one in last) / median(one.peak_memory for one in first)
    return (
        f"last {some} incremental backups against the first {some}: time × {times:.2f}, "
        f"{'flat' if times <= _FLAT_TIME else '**grows**'}; memory × {memory:.2f}, "
        f"{'flat' if memory <= _FLAT_MEMORY else '**grows**'}"
    )


def _generate(*arguments: str) -> None:
    subprocess.run([sys.executable, str(_GENERATOR), *arguments], check=True)


def measure(options: argparse.Namespace, backstay: Contender, work: Path) -> list[str]:
    """Every series that was asked for, as Markdown."""
    lines: list[str] = []
    if "files" in options.only:
        trees = [(count, ["small", str(count)]) for count in options.files]
        series = Series("files in many folders", "files")
        lines += ["", f"**{series.title}**", "", *with_sizes(series, backstay, work, trees).table()]
    if "flat" in options.only:
        trees = [(count, ["small", str(count), "--flat"]) for count in options.flat]
        series = Series("files in one folder", "files")
        lines += ["", f"**{series.title}**", "", *with_sizes(series, backstay, work, trees).table()]
    if "bytes" in options.only:
        sizes = [round(gigabytes * 1e9) for gigabytes in options.gigabytes]
        trees = []
        for size in sizes:
            count = max(1, round(size / _LARGE_FILE_BYTES))
            trees.append((size, ["large", str(count), str(size // count)]))
        series = Series("bytes in large files", "bytes")
        lines += ["", f"**{series.title}**", "", *with_sizes(series, backstay, work, trees).table()]
    if "points" in options.only:
        lines += ["", f"**restore points**, {options.point_files:,} files, 1 % changed before each", ""]
        lines += with_points(backstay, work, options.point_files, options.points)
    return lines


_AsWritten = argparse.RawDescriptionHelpFormatter
_ALL = ("files", "flat", "bytes", "points")


def main(arguments: list[str]) -> None:
    """Run, print the tables and verdicts, and add them to the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="DIR", help="where trees and repositories are made")
    add("--files", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], metavar="N")
    add("--flat", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N", help="files in one folder")
    add("--gigabytes", type=float, nargs="+", default=[1, 10], metavar="N")
    add("--points", type=int, default=100, metavar="N", help="how many restore points")
    add("--point-files", type=int, default=_POINT_FILES, metavar="N", help="files in each of them")
    add("--only", nargs="+", choices=_ALL, default=_ALL, help="some of the series")
    add("--backstay", type=Path, metavar="FILE", help="the executable  [default: beside this Python]")
    add("--results", type=Path, metavar="FILE", help="a record to add to")
    add("--quick", action="store_true", help="tiny sizes: a trial of the bench, no measurement")
    options = parser.parse_args(arguments)
    if options.quick:
        options.files, options.flat, options.gigabytes = [20, 200], [200], [0.001, 0.004]
        options.points, options.point_files = 2, 100
    backstay = find_backstay(options.backstay)
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve() / "growth"
    work.mkdir()
    places = ("--work", "--backstay", "--results")
    try:
        lines = machine.describe(work)
        lines += [
            f"- {backstay.version()}; whole processes, one run each, warm cache, encrypted, defaults",
            f"- repeat: `{machine.repeatable('growth.py', arguments, places)}`",
        ]
        lines += [machine.TRIAL] if options.quick else []
        lines += measure(options, backstay, work)
    except RunFailed as error:
        raise SystemExit(str(error)) from None
    finally:
        shutil.rmtree(work)
    print("\n".join(lines))
    if options.results is not None:
        machine.append(options.results, "Growth", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
