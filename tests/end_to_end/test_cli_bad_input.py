"""Bad input: one clear sentence, a hint, the right exit code, nothing damaged."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def _says(result, *words):
    lines = result.err.splitlines()
    assert lines[0].startswith("backstay: ")
    assert lines[1].startswith("  hint: ")
    assert len(lines) == 2, result.err
    for word in words:
        assert word in result.err


def test_a_wrong_passphrase(cli, repository):
    """Says that no key opens; exit 1; and in JSON the same."""
    wrong = {"BACKSTAY_PASSPHRASE": "wrong"}
    _says(cli("repo", "points", "repo", code=1, environment=wrong), "no key of", "passphrase")
    error = cli("repo", "points", "repo", "--json", code=1, environment=wrong).event("error")
    assert (error["error"], error["exit_code"]) == ("WrongPassphrase", 1)


def test_no_passphrase_at_all(cli, repository):
    """Without a terminal the three ways to give one are told; exit 2."""
    del cli.environment["BACKSTAY_PASSPHRASE"]
    _says(cli("repo", "points", "repo", code=2), "BACKSTAY_PASSPHRASE", "--passphrase-file", "terminal")


def test_an_empty_passphrase(cli):
    """An empty passphrase is refused, and no repository is made."""
    _says(cli("repo", "init", "repo", code=2, environment={"BACKSTAY_PASSPHRASE": ""}), "empty")
    assert list(cli.folder.glob("*recovery*")) == []


def test_a_passphrase_file(cli):
    """Opens the repository, wins over the environment, and one that others can read is warned of."""
    (cli.folder / "pass").write_text("from a file\n")
    (cli.folder / "pass").chmod(0o644)
    assert "chmod 600" in cli("repo", "init", "repo", "--passphrase-file", "pass").err
    (cli.folder / "pass").chmod(0o600)
    assert cli("repo", "points", "repo", "--passphrase-file", "pass").err == ""
    cli("repo", "points", "repo", code=1)
    _says(cli("repo", "points", "repo", "--passphrase-file", "gone", code=2), "gone")


def test_no_repository_there(cli):
    """A folder without a repository, and a place that is not there."""
    (cli.folder / "empty").mkdir()
    _says(cli("repo", "points", "empty", code=1), "no Backstay repository")
    _says(cli("repo", "backup", "gone", ".", code=1), "gone")
    assert not (cli.folder / "gone").exists()


def test_a_newer_repository(cli, repository):
    """A repository of a newer version is named as such, and stays as it is."""
    config = repository / "config"
    content = json.loads(config.read_text())
    content["version"] = 2
    config.chmod(0o600)
    config.write_text(json.dumps(content))
    _says(cli("repo", "backup", "repo", "docs", code=1), "version 2", "newer")


def test_a_second_repository_in_the_same_place(cli, repository):
    """init refuses, and the first repository stays as it was."""
    before = (repository / "config").read_bytes()
    _says(cli("repo", "init", "repo", code=1), "already")
    assert (repository / "config").read_bytes() == before


def test_a_folder_with_other_files(cli):
    """init does not scatter a repository among other files."""
    (cli.folder / "home").mkdir()
    (cli.folder / "home" / "letter").touch()
    _says(cli("repo", "init", "home", code=2), "not empty")
    assert os.listdir(cli.folder / "home") == ["letter"]


def test_a_sheet_that_is_there_already(cli):
    """The sheet overwrites nothing, and lies in no repository; in both cases no repository is made."""
    (cli.folder / "sheet").write_text("precious")
    _says(cli("repo", "init", "repo", "--recovery-sheet", "sheet", code=2), "already")
    assert (cli.folder / "sheet").read_text() == "precious"
    (cli.folder / "repo").mkdir()
    _says(cli("repo", "init", "repo", "--recovery-sheet", "repo/sheet", code=2), "inside")
    _says(cli("repo", "init", "repo", "--recovery-sheet", "nowhere/sheet", code=2), "nowhere")
    assert os.listdir(cli.folder / "repo") == []


def test_no_path_is_there(cli, repository):
    """A backup of nothing that exists fails and commits nothing."""
    _says(cli("repo", "backup", "repo", "gone", code=1), "gone")
    assert cli("repo", "points", "repo", "--json").events == []


@pytest.mark.parametrize(
    "arguments", [["--set", ""], ["--set", "a\nb"], ["--exclude", ""], ["--exclude", "#x"]]
)
def test_malformed_options(cli, repository, arguments):
    """An impossible name of a set or pattern is wrong usage."""
    _says(cli("repo", "backup", "repo", "docs", *arguments, code=2))


def test_malformed_rules(cli, repository):
    """Each wrong line of a rule file is named with its number; nothing is backed up."""
    (cli.folder / "rules").write_text("*.o\n[size > many] *.iso\n[age > x] *\n")
    _says(cli("repo", "backup", "repo", "docs", "--rules", "rules", code=2), "rules line 2", "rules line 3")
    _says(cli("explain", "x", "--rules", "rules", code=2), "rules line 2")
    _says(cli("repo", "backup", "repo", "docs", "--rules", "gone", code=2), "gone")
    assert cli("repo", "points", "repo", "--json").events == []


def test_a_target_that_is_not_empty(cli, repository):
    """restore writes nothing into a folder with files unless told what happens to them."""
    cli("repo", "backup", "repo", "docs")
    _says(cli("repo", "restore", "repo", "latest", "--to", "docs", code=1), "not empty")
    assert sorted(os.listdir(cli.folder / "docs")) == ["a.txt", "sub"]


def test_restore_points_that_are_not_there(cli, repository):
    """An unknown point, a path that is not in it, and no point at all."""
    _says(cli("repo", "restore", "repo", "latest", "--to", "out", code=2), "no restore point")
    cli("repo", "backup", "repo", "docs")
    _says(cli("repo", "restore", "repo", "abcdef", "--to", "out", code=2), "abcdef")
    _says(cli("repo", "restore", "repo", "latest", "--to", "out", "gone", code=2), "gone")
    assert not (cli.folder / "out").exists()


def test_retention_that_keeps_nothing(cli, repository):
    """prune without any --keep option is wrong usage, and takes nothing out."""
    cli("repo", "backup", "repo", "docs")
    _says(cli("repo", "prune", "repo", code=2), "keep nothing")
    assert len(cli("repo", "points", "repo", "--json").events) == 1


@pytest.mark.parametrize(
    "arguments",
    [["repo"], ["repo", "nothing"], ["repo", "backup"], ["--nothing"], ["repo", "points", "x", "--nothing"]],
)
def test_wrong_usage(cli, arguments):
    """Unknown commands and options, and missing arguments, end with 2 and point to the help."""
    assert "--help" in cli(*arguments, code=2).err


def test_names_that_are_no_text(cli, repository):
    """A repository, path or set whose name is not UTF-8 is no reason to crash."""
    name = os.fsdecode(b"\xff\x1b[2J")
    _says(cli("repo", "points", name, code=1), "\\xff\\x1b[2J")
    (cli.folder / name).write_text("x")
    cli("repo", "backup", "repo", name)
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", name)
    assert (cli.folder / "out" / name).read_text() == "x"


def test_an_ascii_terminal(cli, repository):
    """Where the terminal's character set has no such letters, they are escaped."""
    (cli.folder / "docs" / "Grüße").write_text("x")
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    cli("repo", "backup", "repo", "docs", "gone–ü", code=3, environment=environment)


@pytest.fixture
def without_privileges(cli):
    """Runs the command line so that permissions count, also where the tests run as root."""
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")
    if os.geteuid() != 0:
        drop = ()
    elif shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")

    def run(*arguments, **options):
        return cli(*arguments, prefix=drop, **options)

    yield run
    for path in (cli.folder, *cli.folder.rglob("*")):
        path.chmod(0o700)


def test_no_permission(cli, without_privileges):
    """What may not be read is a warning; a repository or place that may not be used is an error."""
    docs = cli.folder / "docs"
    (docs / "closed").mkdir(parents=True)
    (docs / "open").write_text("x")
    (docs / "secret").write_text("x")
    (docs / "secret").chmod(0)
    (docs / "closed").chmod(0)
    without_privileges("repo", "init", "repo")
    done = without_privileges("repo", "backup", "repo", "docs", code=3)
    assert "docs/secret: permission denied" in done.out
    assert "docs/closed: permission denied" in done.out
    (cli.folder / "repo" / "config").chmod(0)
    _says(without_privileges("repo", "backup", "repo", "docs", code=1), "ermission denied")
    _says(without_privileges("repo", "init", "docs/closed/repo", code=1), "ermission denied")


@pytest.fixture
def small_disk(cli):
    """A file system of four megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    place = cli.folder / "small"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(cli, small_disk):
    """A repository on a full disk says so, keeps every restore point, and works again when there is room."""
    cli("repo", "init", "small/repo")
    (cli.folder / "little").write_text("little")
    cli("repo", "backup", "small/repo", "little", "--set", "little")
    (cli.folder / "large").write_bytes(os.urandom(8 << 20))
    _says(
        cli("repo", "backup", "small/repo", "large", "--set", "large", code=1),
        "No space left",
        "free some space",
    )
    assert [point["set"] for point in cli("repo", "points", "small/repo", "--json").events] == ["little"]
    cli("repo", "restore", "small/repo", "latest", "--to", "out")
    (cli.folder / "large").write_bytes(os.urandom(1 << 20))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    cli("repo", "backup", "small/repo", "large", "--set", "large")
    cli("repo", "verify", "small/repo", "--data")


def test_a_full_disk_at_the_target(cli, small_disk):
    """A restore that does not fit says so before it writes."""
    cli("repo", "init", "repo")
    (cli.folder / "large").write_bytes(os.urandom(8 << 20))
    cli("repo", "backup", "repo", "large")
    _says(cli("repo", "restore", "repo", "latest", "--to", "small/out", code=1), "free")


def test_a_damaged_config(cli, repository):
    """A config that is no JSON, or is empty, is named as damaged."""
    (repository / "config").chmod(0o600)
    for content in (b"", b"\xff\x00", b"[]", b"[" * 100_000):
        (repository / "config").write_bytes(content)
        _says(cli("repo", "points", "repo", code=1), "config is damaged")


def test_a_missing_key_folder(cli, repository):
    """A repository without its keys cannot be opened, and says so."""
    shutil.rmtree(repository / "keys")
    _says(cli("repo", "points", "repo", code=1), "keys")


def test_output_that_nobody_takes(cli):
    """Standard output on a full device is an error in words."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [cli.environment["PATH"].split(":")[0] + "/backstay", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=cli.environment,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
