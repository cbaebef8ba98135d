"""What a measurement has to say about where it was made."""

import os
import platform
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

TRIAL = "- **a trial of the bench with tiny sizes: its figures and verdicts mean nothing**"


def processor() -> str:
    """The processor's model, as /proc/cpuinfo names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def file_system(folder: Path) -> str:
    """The type of the file system on which `folder` lies; proc(5), mountinfo."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    kind = "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == wanted:
            kind = fields[fields.index("-") + 1]
    return kind


def revision() -> str:
    """The revision of this source tree, with a remark where it was changed since."""
    here = Path(__file__).parent
    try:
        name = subprocess.run(
            ["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "../src"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown revision"
    return name + (" with changes" if changed else "")


def describe(work: Path) -> list[str]:
    """Lines of Markdown: date, machine, file system."""
    cores = len(os.sched_getaffinity(0))
    return [
        f"- date: {time.strftime('%Y-%m-%d', time.gmtime())}, revision {revision()}",
        f"- machine: {processor()}, {cores} cores, {memory_bytes() / 2**30:.0f} GiB memory, "
        f"Linux {platform.release()}, {file_system(work)}, Python {platform.python_version()}",
    ]


def repeatable(script: str, arguments: Sequence[str], places: Sequence[str]) -> str:
    """The command to repeat a run; the values of options in `places` are places: left open."""
    shown: list[str] = []
    it = iter(arguments)
    for argument in it:
        option, equals, _ = argument.partition("=")
        if option in places:
            if not equals:
                next(it, None)
            shown += [option, "…"]
        else:
            shown.append(shlex.quote(argument))
    return " ".join(["python", f"bench/{script}", *shown])


def append(results: Path, title: str, lines: Sequence[str]) -> None:
    """Add a section to the record of results."""
    head = "" if results.exists() else _HEAD
    with results.open("a") as file:
        file.write(f"{head}\n## {title}\n\n" + "\n".join(lines) + "\n")


_HEAD = """# Results of the benches

What was measured, where, and how to repeat it. [README.md](README.md) says how each bench
works. New runs are added at the end; nothing is taken out.
"""
