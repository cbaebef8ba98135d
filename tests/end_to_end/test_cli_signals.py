"""Being interrupted, being two, and being cut off."""

import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from_terminal = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def large(cli, repository):
    """A folder that takes a while to back up."""
    (cli.folder / "large").mkdir()
    for number in range(120):
        (cli.folder / "large" / str(number)).write_bytes(os.urandom(1 << 20))
    return cli.folder / "large"


def _wait_for(process, word):
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word} was never said")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_backup_says_so_and_the_next_one_succeeds(cli, large, number):
    """A signal ends a backup with 1 and a sentence; nothing is committed; the next backup sends less."""
    process = cli.start("repo", "backup", "repo", "large", "--json")
    _wait_for(process, '"step_started", "step": "transmit"')
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "cancelled" in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["error"] == "Cancelled"
    assert cli("repo", "points", "repo", "--json").events == []
    cli("repo", "backup", "repo", "large")
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", "large")
    assert len(os.listdir(cli.folder / "out" / "large")) == 120


def test_two_backups_of_one_set_at_once(cli, large):
    """The second is refused with the number of the first process, and the first one succeeds."""
    first = cli.start("repo", "backup", "repo", "large", "--json")
    _wait_for(first, '"step_started", "step": "transmit"')
    first.send_signal(signal.SIGSTOP)
    try:
        second = cli("repo", "backup", "repo", "large", code=1)
        other = cli("repo", "backup", "repo", "docs", "--set", "other")
    finally:
        first.send_signal(signal.SIGCONT)
    assert str(first.pid) in second.err
    assert other.code == 0
    first.communicate(timeout=60)
    assert first.returncode == 0
    cli("repo", "verify", "repo", "--data")


def test_a_reader_that_goes_away(cli, repository):
    """A closed pipe ends the program quietly."""
    process = cli.start("repo", "backup", "repo", "docs", "--json")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) in (0, 1)


def _on_terminal(cli, *arguments, answers=()):
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        os.execvpe("backstay", ["backstay", *map(str, arguments)], {**cli.environment, "TERM": "xterm"})
    out = b""
    waiting = list(answers)
    while True:
        try:
            piece = os.read(fd, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
        if waiting and out.rstrip().endswith(b":"):
            time.sleep(0.1)
            os.write(fd, waiting.pop(0) + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    assert b"Traceback" not in out
    return os.waitstatus_to_exitcode(status), out


def test_a_terminal_shows_the_steps_live(cli, repository):
    """On a terminal the running step is drawn and redrawn; at the end the steps remain as lines."""
    # A job of less than half a second is not drawn.
    many = cli.folder / "many"
    many.mkdir()
    for number in range(30_000):
        (many / f"{number}").write_bytes(b"%d" % number * 200)
    code, out = _on_terminal(cli, "repo", "backup", "repo", "many")
    assert code == 0
    assert out.count(b"running") >= 1
    assert b"\x1b[2K" in out
    plain = from_terminal.sub(b"", out)
    assert plain.rstrip().splitlines()[-1].startswith(b"restore point ")
    assert out.rfind(b"\x1b[?25h") >= out.rfind(b"\x1b[?25l")


def test_a_passphrase_is_asked_for_on_a_terminal(cli):
    """A new one twice, an old one once; it is never shown."""
    del cli.environment["BACKSTAY_PASSPHRASE"]
    code, out = _on_terminal(cli, "repo", "init", "repo", answers=[b"secret", b"secret"])
    assert code == 0
    assert b"secret" not in out
    assert _on_terminal(cli, "repo", "init", "other", answers=[b"secret", b"secrets"])[0] == 2
    assert _on_terminal(cli, "repo", "points", "repo", answers=[b"secret"])[0] == 0
    assert _on_terminal(cli, "repo", "points", "repo", answers=[b"wrong"])[0] == 1


def test_a_backup_has_as_many_open_files_as_the_system_allows(cli, repository):
    """The soft limit of open files is raised to the hard one."""
    script = "ulimit -Sn 64 && exec backstay repo backup repo deep"
    deep = cli.folder / "deep"
    for _ in range(100):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    done = subprocess.run(
        ["sh", "-c", script], cwd=cli.folder, env=cli.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
