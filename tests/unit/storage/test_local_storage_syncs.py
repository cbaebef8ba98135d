"""LocalStorage at system-call level, as strace(1) sees it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

WORK = """
import sys
from concurrent.futures import ThreadPoolExecutor
from backstay.storage.local import LocalStorage
storage = LocalStorage(sys.argv[1], create=True)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda n: storage.put(f"packs/{n % 5:02x}/{n}", [b"x" * 70_000, b"y"]), range(20)))
storage.put("manifests/set/one", [b"manifest"])
storage.sync()
storage.put("manifests/set/two", [b"manifest"])
storage.put("manifests/set/two", [b"manifest"])
storage.delete("packs/00/0")
storage.secure("packs/03/3")
storage.sync()
"""

TRY = """
import sys
from backstay.domain.errors import StorageError
from backstay.storage.local import LocalStorage
storage = LocalStorage(sys.argv[1])
def attempt(do, *arguments):
    try:
        do(*arguments)
    except StorageError as error:
        print(type(error).__name__)
    else:
        print("done")
attempt(storage.put, "p/x", [b"1" * 1000, b"2"])
print(*(info.name for info in storage.list("")))
attempt(storage.put, "p/x", [b"1" * 1000, b"2"])
attempt(storage.put, "p/x", [b"other"])
attempt(storage.sync)
attempt(storage.sync)
print(storage.get("p/x") == b"1" * 1000 + b"2")
"""

CALLS = (
    "openat,write,writev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat"
)
_FD_PATH = r"\d+<(?P<path>[^>]*)>"
_PATHS = re.compile(r'"([^"]*)"')


class Call(NamedTuple):
    """One system call that succeeded: its paths as absolute strings, that of a descriptor first."""

    kind: str
    paths: list[str]


def strace(code: str, root: Path, *options: str) -> str:
    """What `code` prints when it runs under strace with these options and `root` as argument."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    command = ["strace", "-f", "-qq", *options, sys.executable, "-c", code, str(root)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode and "ptrace" in run.stderr:
        pytest.skip(f"strace may not trace here: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return run.stdout


def trace(root: Path, log: Path) -> list[Call]:
    """The successful calls of WORK around `root`, in order of their return."""
    strace(WORK, root, "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(log))
    calls = []
    unfinished: dict[str, str] = {}
    for line in log.read_text().splitlines():
        thread, text = line.split(maxsplit=1)
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = text.removesuffix("<unfinished ...>")
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            text = unfinished.pop(thread) + resumed[1]
        if re.search(r"= -1 E[A-Z]+ ", text) or str(root.parent) not in text:
            continue
        kind = re.match(r"\w+", text)[0]
        paths = (
            re.findall(_FD_PATH, text.split(",")[0])
            if kind in {"fsync", "fdatasync", "write", "writev"}
            else []
        )
        calls.append(Call(kind, paths or _PATHS.findall(text)))
    return calls


@pytest.fixture(scope="module")
def traced(tmp_path_factory) -> tuple[Path, list[Call]]:
    """The root of a storage and the calls that filled it."""
    folder = tmp_path_factory.mktemp("traced")
    return folder / "store", trace(folder / "store", folder / "log")


def namings(calls: list[Call], root: Path) -> list[tuple[int, str, str]]:
    """(position, aside, final) of every call that gave an object its name."""
    return [
        (position, *call.paths)
        for position, call in enumerate(calls)
        if call.kind in {"link", "linkat", "rename", "renameat", "renameat2"}
    ]


def test_bytes_are_synced_before_the_name(traced):
    """Every object is written, then synced, then named, and not written after its sync."""
    root, calls = traced
    named = namings(calls, root)
    assert len({final for _, _, final in named}) == len(named) == 22
    for position, aside, _ in named:
        writes = [
            n for n, call in enumerate(calls) if call.kind in {"write", "writev"} and aside in call.paths
        ]
        syncs = [
            n for n, call in enumerate(calls) if call.kind in {"fsync", "fdatasync"} and aside in call.paths
        ]
        assert writes and syncs, aside
        assert max(writes) < min(syncs) < position, aside


def test_sync_syncs_every_folder(traced):
    """After the last sync each folder, also those above, was synced after the last change of its names."""
    root, calls = traced
    changed: dict[str, int] = {}
    synced: dict[str, int] = {}
    for position, call in enumerate(calls):
        if call.kind in {"fsync", "fdatasync"}:
            synced[call.paths[0]] = position
        elif call.kind not in {"openat", "write", "writev"}:
            changed[str(Path(call.paths[-1]).parent)] = position
    changed.pop(str(root / ".aside"))
    folders = {str(root / folder) for folder in ("", "packs", "manifests", "manifests/set")}
    folders |= {str(root / f"packs/{n:02x}") for n in range(5)} | {str(root.parent)}
    assert set(changed) == folders
    for folder, position in changed.items():
        assert synced[folder] > position, folder


def test_syncs_are_batched(traced):
    """No folder is synced more than once a `sync`, however many objects it got."""
    root, calls = traced
    for folder in {str(root / "packs"), str(root / "packs/00"), str(root)}:
        assert sum(call.kind == "fsync" and call.paths == [folder] for call in calls) <= 2
    secured = str(root / "packs/03")
    assert sum(call.kind == "fsync" and call.paths == [secured] for call in calls) == 2


@pytest.mark.parametrize(
    ("fault", "printed"),
    [
        ("writev:error=ENOSPC:when=1", "StorageFull||done|ObjectExists|done|done|True"),
        ("writev:error=EDQUOT:when=1", "StorageFull||done|ObjectExists|done|done|True"),
        ("writev:error=EIO:when=1", "StorageUnavailable||done|ObjectExists|done|done|True"),
        ("fsync:error=EIO:when=1", "StorageUnavailable||done|ObjectExists|done|done|True"),
        ("fsync:error=EIO:when=2", "done|p/x|done|ObjectExists|StorageUnavailable|done|True"),
        ("mkdir,mkdirat:error=EACCES:when=1", "StorageError||done|ObjectExists|done|done|True"),
        ("mkdir,mkdirat:error=ENOSPC:when=2", "StorageFull||done|ObjectExists|done|done|True"),
        ("link,linkat:error=EPERM", "done|p/x|done|ObjectExists|done|done|True"),
        ("link,linkat,renameat2:error=EINVAL", "done|p/x|done|ObjectExists|done|done|True"),
        ("link,linkat:error=EACCES:when=1", "done|p/x|done|ObjectExists|done|done|True"),
        ("link,linkat:error=EIO:when=1", "StorageUnavailable||done|ObjectExists|done|done|True"),
    ],
)
def test_faults_of_the_kernel(tmp_path, fault, printed):
    """A call that fails once is told for what it is and leaves nothing; tried again it succeeds."""
    (tmp_path / "store").mkdir()
    output = strace(TRY, tmp_path / "store", "-e", f"inject={fault}", "-o", str(tmp_path / "log"))
    assert output.splitlines() == printed.split("|")
    assert {path.name for path in (tmp_path / "store/.aside").iterdir()} <= {"lock"}


def test_a_failed_sync_is_made_up_for(tmp_path):
    """The sync after one that failed syncs the folders of both."""
    (tmp_path / "store").mkdir()
    log = tmp_path / "log"
    strace(TRY, tmp_path / "store", "-y", "-e", "inject=fsync:error=EIO:when=2", "-o", str(log))
    synced = re.findall(r"fsync\(\d+<([^>]*)>\) += 0", log.read_text())
    assert synced[1:] == [str(tmp_path / "store"), str(tmp_path / "store/p")]
