"""Backing up, listing and restoring with the executable."""

import os
import shutil

import pytest


def test_init_makes_a_repository_and_its_recovery_sheet(cli):
    """init prints the repository's id, and writes a sheet that only the owner can read."""
    made = cli("repo", "init", "repo", "--json").event("result")
    sheet = cli.folder / f"backstay-recovery-{made['repository']}.txt"
    assert made["recovery_sheet"] == str(sheet)
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert made["repository"] in sheet.read_text()
    assert list(cli.folder.glob(".backstay*")) == []


def test_the_recovery_key_opens_the_repository(cli):
    """What the sheet says can be given instead of the passphrase."""
    cli("repo", "init", "repo", "--recovery-sheet", "sheet")
    lines = [
        line
        for line in (cli.folder / "sheet").read_text().splitlines()
        if "groups" in line and " to " in line
    ]
    key = "-".join(line.split()[-1] for line in lines)
    cli("repo", "points", "repo", environment={"BACKSTAY_PASSPHRASE": key.lower()})


def test_a_folder_comes_back_as_it_was(cli, repository):
    """backup, points and restore give the files back, and a second backup is incremental."""
    first = cli("repo", "backup", "repo", "docs")
    for step in ("request", "type", "recovery point / scan", "estimate", "transmit", "clean up"):
        assert step in first.out
    (cli.folder / "docs" / "a.txt").write_text("changed")
    cli("repo", "backup", "repo", "docs")
    points = cli("repo", "points", "repo", "--json").events
    assert [point["type"] for point in points] == ["full", "incremental"]
    assert points[0]["totals"]["files"] == 3
    for number, content in enumerate(("a", "changed")):
        cli("repo", "restore", "repo", points[number]["id"][:8], "--to", f"out{number}", "docs", "--strip")
        assert (cli.folder / f"out{number}" / "docs" / "a.txt").read_text() == content
    shown = cli("repo", "points", "repo").out
    assert points[1]["id"][:10] in shown


def test_the_restored_tree_is_the_same_for_rsync(cli, repository):
    """rsync finds nothing to change between the source and the restored folder."""
    rsync = shutil.which("rsync")
    if rsync is None:
        pytest.skip("rsync is not installed")
    cli("repo", "backup", "repo", "docs")
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", "docs")
    import subprocess

    command = [rsync, "-aHAXn", "--delete", "--itemize-changes", "docs/", "out/docs/"]
    assert subprocess.run(command, cwd=cli.folder, capture_output=True, check=True).stdout == b""


def test_json_tells_every_step_and_the_result(cli, repository):
    """--json prints one object a line: each step's begin and end, then the result with the restore point."""
    events = cli("repo", "backup", "repo", "docs", "--json").events
    started = [event["step"] for event in events if event["event"] == "step_started"]
    ended = [event["step"] for event in events if event["event"] == "step_ended"]
    assert started == ended
    assert len(ended) == 6
    assert events[-1]["event"] == "result"
    assert events[-1]["complete"] is True
    assert events[-1]["point"]["totals"]["files"] == 3


def test_a_missing_path_is_a_warning_that_cannot_harm_the_terminal(cli, repository):
    """Where one path of several is missing the backup ends with 3, and the name is shown with escapes."""
    name = os.fsdecode(b"gone\x1b[2J\xff")
    done = cli("repo", "backup", "repo", "docs", name, code=3)
    assert "gone\\x1b[2J\\xff" in done.out
    assert "\x1b" not in done.out + done.err
    problem = cli("repo", "backup", "repo", "docs", name, "--json", code=3).event("problem")
    assert problem["path"].endswith("gone\x1b[2J\ufffd")
    assert "path_base64" in problem


def test_many_problems_are_cut_short_unless_asked_for(cli, repository):
    """Of more than twenty problems the first twenty are listed, and all with --verbose."""
    missing = [f"gone{number}" for number in range(25)]
    short = cli("repo", "backup", "repo", "docs", *missing, code=3)
    assert "5 more" in short.out
    whole = cli("repo", "backup", "repo", "docs", *missing, "--verbose", code=3)
    assert all(str(cli.folder / name) in whole.out for name in missing)


def test_rules_leave_files_out(cli, repository):
    """--exclude, a file of rules, and the later one winning."""
    (cli.folder / "rules").write_text("*.txt\n")
    cli("repo", "backup", "repo", "docs", "--rules", "rules", "--exclude", "!b.txt", "--exclude", "*.bin")
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", "docs")
    found = {path.name for path in (cli.folder / "out").rglob("*") if path.is_file()}
    assert found == {"b.txt"}


def test_the_repository_itself_is_left_out(cli, repository):
    """A backup of the folder that holds repository, state and cache captures none of them."""
    cli("repo", "backup", "repo", ".")
    cli("repo", "restore", "repo", "latest", "--to", "../out", "--strip", ".")
    restored = cli.folder.parent / "out" / cli.folder.name
    assert (restored / "docs" / "a.txt").exists()
    assert not any((restored / name).exists() for name in ("repo", "state", "cache"))


def test_sets_are_kept_apart(cli, repository):
    """Each set has a first full backup, and `latest` wants to know which one is meant."""
    cli("repo", "backup", "repo", "docs", "--set", "one")
    cli("repo", "backup", "repo", "docs/sub", "--set", "two")
    assert [p["type"] for p in cli("repo", "points", "repo", "--json").events] == ["full", "full"]
    assert len(cli("repo", "points", "repo", "--json", "--set", "two").events) == 1
    assert "--set" in cli("repo", "restore", "repo", "latest", "--to", "out", code=2).err
    cli("repo", "restore", "repo", "latest", "--to", "out", "--set", "two")


def test_restore_points_are_browsed_searched_and_compared(cli, repository):
    """files lists a folder, finds names and shows all versions of a file; diff names what changed."""
    cli("repo", "backup", "repo", "docs")
    (cli.folder / "docs" / "a.txt").write_text("longer")
    (cli.folder / "docs" / "new\n").symlink_to("a.txt")
    cli("repo", "backup", "repo", "docs")
    docs = str(cli.folder / "docs")
    listed = cli("repo", "files", "repo", "latest", "docs", "--json").events
    assert [file["path"] for file in listed] == [f"{docs}/{name}" for name in ("a.txt", "new\n", "sub")]
    assert "new\\n -> a.txt" in cli("repo", "files", "repo", "latest", "docs").out
    (found,) = cli("repo", "files", "repo", "latest", "--find", "B.T", "--json").events
    assert (found["path"], found["size"]) == (f"{docs}/sub/b.txt", 1000)
    versions = cli("repo", "files", "repo", "latest", "--versions", "docs/a.txt", "--json").events
    assert [(version["size"], len(version["points"])) for version in versions] == [(1, 1), (6, 1)]
    first, second = (point["id"] for point in cli("repo", "points", "repo", "--json").events)
    changes = [
        (event["change"], event["path"])
        for event in cli("repo", "diff", "repo", first, second, "--json").events
        if event["event"] == "difference"
    ]
    assert changes == [("changed", f"{docs}/a.txt"), ("added", f"{docs}/new\n")]
    assert "nothing differs" in cli("repo", "diff", "repo", first, first).out
    cli("repo", "files", "repo", "latest", "gone", code=2)


def test_a_dry_run_writes_nothing(cli, repository):
    """restore --dry-run says what it would write, and makes no folder."""
    cli("repo", "backup", "repo", "docs")
    plan = cli("repo", "restore", "repo", "latest", "--to", "out", "--dry-run", "--json").event("plan")
    assert plan["files"] == 3
    assert not (cli.folder / "out").exists()


@pytest.mark.parametrize(
    ("existing", "content"), [("overwrite", "a"), ("skip", "mine"), ("keep-both", "mine")]
)
def test_what_exists_is_treated_as_asked(cli, repository, existing, content):
    """--existing decides over a file that is there already."""
    cli("repo", "backup", "repo", "docs")
    (cli.folder / "out" / "docs").mkdir(parents=True)
    (cli.folder / "out" / "docs" / "a.txt").write_text("mine")
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", "docs", "--existing", existing)
    assert (cli.folder / "out" / "docs" / "a.txt").read_text() == content
    assert len(list((cli.folder / "out" / "docs").glob("a*.txt"))) == (2 if existing == "keep-both" else 1)


def test_verify_names_what_damage_touches(cli, repository):
    """An intact repository verifies; one with a flipped byte ends with 1, and the object is named."""
    cli("repo", "backup", "repo", "docs")
    assert "nothing is damaged" in cli("repo", "verify", "repo", "--data").out
    pack = max(
        (repository / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0
    )
    damaged = bytearray(pack.read_bytes())
    damaged[1000] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(damaged)
    found = cli("repo", "verify", "repo", "--data", "--json", code=1)
    assert [event["object"] for event in found.events if event["event"] == "damage"] == [
        str(pack.relative_to(repository))
    ]


def test_prune_says_why_and_takes_out(cli, repository):
    """A dry run changes nothing; then only what retention keeps is left, and it still restores."""
    for number in range(3):
        (cli.folder / "docs" / "a.txt").write_text(str(number))
        cli("repo", "backup", "repo", "docs")
    dry = cli("repo", "prune", "repo", "--keep-yearly", "1", "--dry-run")
    assert dry.out.count("goes") == 2
    assert "newest of its set" in dry.out
    assert len(cli("repo", "points", "repo", "--json").events) == 3
    cli("repo", "prune", "repo", "--keep-yearly", "1", "--grace-hours", "0")
    assert len(cli("repo", "points", "repo", "--json").events) == 1
    cli("repo", "verify", "repo", "--data")
    cli("repo", "restore", "repo", "latest", "--to", "out", "--strip", "docs/a.txt")
    assert (cli.folder / "out" / "a.txt").read_text() == "2"


def test_the_index_is_made_anew(cli, repository):
    """After rebuild a repository that lost its index restores."""
    cli("repo", "backup", "repo", "docs")
    shutil.rmtree(repository / "index")
    shutil.rmtree(cli.folder / "cache")
    cli("repo", "rebuild", "repo")
    cli("repo", "restore", "repo", "latest", "--to", "out")


def test_a_credential_backs_up_and_cannot_read(cli, repository):
    """A write-only credential backs up and lists without a passphrase, and cannot restore."""
    cli("repo", "credential", "repo", "--out", "key")
    assert (cli.folder / "key").stat().st_mode & 0o777 == 0o600
    del cli.environment["BACKSTAY_PASSPHRASE"]
    cli("repo", "backup", "repo", "docs", "--credential", "key")
    assert len(cli("repo", "points", "repo", "--credential", "key", "--json").events) == 1
    cli("repo", "verify", "repo", "--credential", "key", "--data")
    assert "passphrase" in cli("repo", "restore", "repo", "latest", "--to", "out", code=2).err


def test_explain_names_the_rule_that_decides(cli):
    """explain shows each folder above a path, and stops at the one that is left out."""
    (cli.folder / "rules").write_text("# rebuilt by make\nbuild/\n")
    shown = cli("explain", "x/build/y.o", "--rules", "rules").out
    assert "rules line 2" in shown
    assert "rebuilt by make" in shown
    verdicts = cli("explain", "x/build/y.o", "--rules", "rules", "--json").events
    assert [verdict["included"] for verdict in verdicts[-2:]] == [True, False]
    assert verdicts[-1]["path"].endswith("/x/build")


def test_bench_measures_each_part_with_its_unit(cli):
    """bench gives a positive rate and a unit for each part of the work."""
    (cli.folder / "tree").mkdir()
    (cli.folder / "tree" / "file").touch()
    found = {event["work"]: event for event in cli("bench", "--scan", "tree", "--json").events}
    assert found.keys() == {"scan", "read", "write", "write small", "chunk", "hash", "compress", "encrypt"}
    assert all(event["rate"] > 0 and event["unit"].endswith("/s") for event in found.values())
    assert list(cli.folder.glob("backstay-bench*")) == []
