"""A second process looks at the disk ahead of the backup: it sees the same, and nothing depends on it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from backstay.backup.listing import ListingRequest, list_runs
from backstay.backup.source import choose_roots
from backstay.domain.content_rule import ContentRule

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the process is forked on Linux only")

_PASSPHRASE = {"BACKSTAY_PASSPHRASE": "correct horse"}


def _make_tree(folder: Path) -> None:
    for number in range(3):
        below = folder / f"d{number}" / "deep" / "deeper"
        below.mkdir(parents=True)
        (below / "file").write_bytes(bytes([number]) * 1000)
        (below / "link").symlink_to("file")
    long = folder / "long"
    long.mkdir()
    for number in range(2500):
        (long / f"name {number}").touch()
    os.mkfifo(folder / "fifo")
    (folder / os.fsdecode(b"no text \xff")).mkdir()
    (folder / "left out.tmp").touch()


def _python(code: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("block", [64 << 10, 64])
def test_it_sees_what_is_there(tmp_path: Path, block: int) -> None:
    """The runs of the second process are those of a look from here, also when its memory is used again."""
    _make_tree(tmp_path)
    done = _python(
        """
        import os, sys
        from backstay.backup import listing_ahead
        from backstay.backup.listing import list_runs
        from backstay.domain.content_rule import ContentRule
        rule = ContentRule.from_patterns(["*.tmp"])
        listing_ahead._BLOCK = int(sys.argv[2])
        ahead = listing_ahead.begin_listing([os.fsencode(sys.argv[1])], rule, cross_mounts=False)
        if len(os.sched_getaffinity(0)) < 2:
            assert ahead is None
            sys.exit("one processor")
        for run in list_runs(ahead.request):
            other = ahead.next()
            # Above the roots others may be at work.
            assert run.root < 0 or other == run, (other, run)
        ahead.close()
        """,
        str(tmp_path),
        str(block),
    )
    if done.stderr == "one processor\n":
        pytest.skip("a second process is not begun on one processor")
    assert (done.returncode, done.stderr) == (0, "")
    roots, _ = choose_roots([os.fsencode(tmp_path)])
    runs = list(list_runs(ListingRequest(roots, ContentRule.from_patterns(["*.tmp"]))))
    assert sum(run.excluded for run in runs) == 1
    assert sum(run.files for run in runs) == 2503


def test_a_lost_process_costs_nothing(tmp_path: Path) -> None:
    """Where the second process is killed, the backup looks for itself and is complete."""
    source = tmp_path / "source"
    source.mkdir()
    _make_tree(source)
    done = _python(
        """
        import os, signal, sys
        from backstay.backup import listing_ahead
        fork = os.fork
        def killed_at_once():
            process = fork()
            if process:
                os.kill(process, signal.SIGKILL)
            return process
        os.fork = killed_at_once
        from backstay.cli.main import main
        repository, source = sys.argv[1:]
        assert main(["repo", "init", repository]) == 0
        assert main(["repo", "backup", repository, source]) == 0
        assert main(["repo", "restore", repository, "latest", "--to", repository + "-back"]) == 0
        """,
        str(tmp_path / "repository"),
        str(source),
        **_PASSPHRASE,
        BACKSTAY_STATE=str(tmp_path / "state"),
    )
    assert done.returncode == 0, done.stderr
    back = tmp_path / "repository-back" / str(source).lstrip("/")
    compared = subprocess.run(
        ["rsync", "-aHAXn", "--delete", "--itemize-changes", f"{source}/", f"{back}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert compared.stdout == ""


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """When the backup is killed, the second process does not stay."""
    for number in range(200):
        folder = tmp_path / f"folder {number}"
        folder.mkdir()
        for name in range(100):
            (folder / f"{'a long name' * 20} {name}").touch()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time\n"
            "from backstay.backup import listing_ahead\n"
            "from backstay.domain.content_rule import ContentRule\n"
            "listing_ahead._BLOCK = 256\n"
            "os.sched_getaffinity = lambda process: {0, 1}\n"
            "paths = [os.fsencode(sys.argv[1])]\n"
            "ahead = listing_ahead.begin_listing(paths, ContentRule(), cross_mounts=False)\n"
            "print(ahead._process, flush=True)\n"
            "time.sleep(60)\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    second = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    until = time.monotonic() + 20
    while Path(f"/proc/{second}/stat").exists() and time.monotonic() < until:
        if Path(f"/proc/{second}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{second}").exists()


def test_not_beside_other_threads(tmp_path: Path) -> None:
    """A process with several threads is not forked: a lock that one of them holds would stay locked."""
    done = _python(
        """
        import os, sys, threading
        from backstay.backup.listing_ahead import begin_listing
        from backstay.domain.content_rule import ContentRule
        os.fork = None
        waiting = threading.Event()
        threading.Thread(target=waiting.wait, daemon=True).start()
        assert begin_listing([os.fsencode(sys.argv[1])], ContentRule(), cross_mounts=False) is None
        """,
        str(tmp_path),
    )
    assert (done.returncode, done.stderr) == (0, "")
