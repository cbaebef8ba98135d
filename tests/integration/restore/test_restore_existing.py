"""What a restore does with what exists at its target, and that it says so before."""

import os
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from backstay.domain.errors import Cancelled, TargetError, UsageError
from backstay.restore.existing import Existing
from backstay.restore.plan import plan_restore
from backstay.restore.progress import Silent
from backstay.restore.workflow import run_restore

NOW = datetime(2026, 11, 22, 14, 5)


@pytest.fixture
def changed(bench):
    """A restored tree that was worked on after the backup, and the point that it came from."""
    (bench.source / "keep").mkdir()
    (bench.source / "keep" / "same.txt").write_bytes(b"same" * 300)
    (bench.source / "report.tar.gz").write_bytes(b"backed up" * 200)
    (bench.source / "was folder").mkdir()
    (bench.source / "was folder" / "inside").write_bytes(b"inside" * 200)
    (bench.source / "was file").write_bytes(b"was file" * 200)
    (bench.source / "link").symlink_to("old")
    point = bench.backup()
    bench.restore(point)
    tree = bench.restored
    (tree / "report.tar.gz").write_bytes(b"newer")
    shutil.rmtree(tree / "was folder")
    (tree / "was folder").write_bytes(b"now a file")
    (tree / "was file").unlink()
    (tree / "was file").mkdir()
    (tree / "link").unlink()
    (tree / "link").symlink_to("new")
    (tree / "alien").write_bytes(b"alien")
    return bench, point, tree


def snapshot(folder: Path) -> dict[str, object]:
    """All that is below a folder, with content and times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        st = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns, content)
    return found


def test_a_target_that_is_not_empty_is_refused(changed):
    """Without a word about what exists nothing is written."""
    bench, point, _ = changed
    before = snapshot(bench.target)
    with pytest.raises(TargetError, match="not empty"):
        bench.restore(point)
    assert snapshot(bench.target) == before


@pytest.mark.parametrize("existing", [Existing.OVERWRITE, Existing.SKIP, Existing.KEEP_BOTH])
def test_a_plan_writes_nothing(changed, existing):
    """The dry run leaves target and temporary folder as they were."""
    bench, point, _ = changed
    before = snapshot(bench.target)
    with plan_restore(
        bench.repository, point, target=os.fsencode(bench.target), existing=existing, now=NOW
    ) as plan:
        taken = plan.figures.replaced + plan.figures.renamed + plan.figures.skipped
    assert taken >= 4
    assert snapshot(bench.target) == before


def test_a_plan_of_a_new_target_does_not_make_it(bench):
    """The dry run counts what would be written, exactly, and makes no folder."""
    (bench.source / "a").mkdir()
    (bench.source / "a" / "file").write_bytes(b"f" * 5000)
    os.link(bench.source / "a" / "file", bench.source / "name")
    (bench.source / "link").symlink_to("a")
    point = bench.backup()
    new = bench.target / "new"
    with plan_restore(bench.repository, point, target=os.fsencode(new)) as plan:
        figures = plan.figures
        assert not new.exists()
        outcome = run_restore(plan)
    assert (figures.files, figures.links, figures.others, figures.bytes) == (1, 1, 1, 5000)
    assert (outcome.files, outcome.links, outcome.others, outcome.bytes) == (1, 1, 1, 5000)
    assert outcome.folders == figures.folders == len(bench.source.parts) - 1 + 1


def test_overwrite(changed, differences):
    """What exists yields, an empty folder too; what the point does not know stays."""
    bench, point, tree = changed
    outcome = bench.restore(point, existing=Existing.OVERWRITE)
    assert outcome.problems == []
    assert (tree / "alien").read_bytes() == b"alien"
    (tree / "alien").unlink()
    shutil.copystat(bench.source, tree)
    assert differences(bench.source, tree) == ""


def test_overwrite_never_removes_a_filled_folder(changed):
    """A folder with something in it stays, and that is told."""
    bench, point, tree = changed
    (tree / "was file" / "precious").write_bytes(b"precious")
    outcome = bench.restore(point, existing=Existing.OVERWRITE)
    assert (tree / "was file" / "precious").read_bytes() == b"precious"
    (problem,) = outcome.problems
    assert problem.path == os.fsencode(tree / "was file")
    assert "not empty" in problem.reason


def test_overwrite_replaces_in_one_step(bench):
    """Whoever has the old file open keeps the old content: it is replaced, not rewritten."""
    (bench.source / "data").write_bytes(b"backed up" * 1000)
    point = bench.backup()
    bench.restore(point)
    (bench.restored / "data").write_bytes(b"old content")
    with (bench.restored / "data").open("rb") as opened:
        bench.restore(point, existing=Existing.OVERWRITE)
        assert opened.read() == b"old content"
    assert (bench.restored / "data").read_bytes() == b"backed up" * 1000


def test_overwrite_of_immutable_files(bench, differences):
    """Flags that forbid changes do not stop it, and are there again afterwards."""
    (bench.source / "stone").write_bytes(b"stone" * 1000)
    point = bench.backup()
    bench.restore(point)
    if subprocess.run(["chattr", "+i", bench.restored / "stone"], check=False).returncode:
        pytest.skip("no immutable files here")
    outcome = bench.restore(point, existing=Existing.OVERWRITE)
    assert (outcome.problems, differences(bench.source, bench.restored)) == ([], "")


def test_skip(changed):
    """What exists stays, to the time of its folder's metadata; what is missing comes."""
    bench, point, tree = changed
    (tree / "keep" / "same.txt").unlink()
    outcome = bench.restore(point, existing=Existing.SKIP)
    assert (tree / "report.tar.gz").read_bytes() == b"newer"
    assert (tree / "was folder").read_bytes() == b"now a file"
    assert os.listdir(tree / "was file") == []
    assert os.readlink(tree / "link") == "new"
    assert (tree / "keep" / "same.txt").read_bytes() == b"same" * 300
    assert [problem.path for problem in outcome.problems] == [os.fsencode(tree / "was folder")]


def test_keep_both(changed):
    """What exists stays, and the restored version comes beside it under a name that tells."""
    bench, point, tree = changed
    first = bench.restore(point, existing=Existing.KEEP_BOTH, now=NOW)
    second = bench.restore(point, existing=Existing.KEEP_BOTH, now=NOW)
    assert (first.problems, second.problems) == ([], [])
    assert (tree / "report.tar.gz").read_bytes() == b"newer"
    for mark in (" (restored 2026-11-22 14.05)", " (restored 2026-11-22 14.05 2)"):
        assert (tree / f"report.tar{mark}.gz").read_bytes() == b"backed up" * 200
        assert (tree / f"was folder{mark}" / "inside").read_bytes() == b"inside" * 200
        assert (tree / f"was file{mark}").read_bytes() == b"was file" * 200
        assert os.readlink(tree / f"link{mark}") == "old"


def test_a_link_in_the_target_leads_nowhere(bench, tmp_path):
    """Neither a folder nor a file is written through a symbolic link that lies in the target."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"untouched")
    (bench.source / "folder").mkdir()
    (bench.source / "folder" / "file").write_bytes(b"f" * 2000)
    (bench.source / "victim").write_bytes(b"v" * 2000)
    point = bench.backup()
    for existing in (Existing.SKIP, Existing.KEEP_BOTH, Existing.OVERWRITE):
        shutil.rmtree(bench.target)
        bench.restored.mkdir(parents=True)
        (bench.restored / "folder").symlink_to(outside)
        (bench.restored / "victim").symlink_to(outside / "victim")
        bench.restore(point, existing=existing, now=NOW)
        assert os.listdir(outside) == ["victim"]
        assert (outside / "victim").read_bytes() == b"untouched"
    assert (bench.restored / "folder" / "file").read_bytes() == b"f" * 2000
    assert not (bench.restored / "victim").is_symlink()


def test_a_link_that_appears_after_the_plan_leads_nowhere(bench, tmp_path):
    """A folder that is swapped for a link between plan and restore is not followed either."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (bench.source / "folder").mkdir()
    (bench.source / "folder" / "file").write_bytes(b"f" * 2000)
    point = bench.backup()
    (bench.restored / "folder").mkdir(parents=True)
    with plan_restore(
        bench.repository, point, target=os.fsencode(bench.target), existing=Existing.OVERWRITE
    ) as plan:
        (bench.restored / "folder").rmdir()
        (bench.restored / "folder").symlink_to(outside)
        outcome = run_restore(plan)
    assert os.listdir(outside) == []
    assert [problem.path for problem in outcome.problems] == [os.fsencode(bench.restored / "folder")]


def test_the_target_itself_may_be_a_link(bench, tmp_path):
    """A target that is a symbolic link to a folder is that folder."""
    (bench.source / "file").write_bytes(b"f" * 2000)
    (tmp_path / "way").symlink_to(bench.target)
    assert bench.restore(bench.backup(), target=os.fsencode(tmp_path / "way")).problems == []
    assert (bench.restored / "file").read_bytes() == b"f" * 2000


def test_parts_of_a_point(bench):
    """Only the chosen paths come, with the folders above them and those folders' modes."""
    for name in ("one", "two"):
        (bench.source / name / "deep").mkdir(parents=True)
        (bench.source / name / "deep" / "a").write_bytes(b"a" * 900)
        (bench.source / name / "deep" / "b").write_bytes(b"b" * 900)
    (bench.source / "one").chmod(0o710)
    point = bench.backup()
    chosen = [os.fsencode(bench.source / "one" / "deep" / "b"), os.fsencode(bench.source / "two")]
    assert bench.restore(point, paths=chosen).files == 3
    found = sorted(str(path.relative_to(bench.restored)) for path in bench.restored.rglob("*"))
    assert found == ["one", "one/deep", "one/deep/b", "two", "two/deep", "two/deep/a", "two/deep/b"]
    assert (bench.restored / "one").stat().st_mode & 0o777 == 0o710


def test_strip_puts_paths_right_into_the_target(bench):
    """With strip the folders above a path are not made."""
    (bench.source / "one").mkdir()
    (bench.source / "one" / "a").write_bytes(b"a" * 900)
    (bench.source / "b").write_bytes(b"b" * 900)
    chosen = [os.fsencode(bench.source / "one"), os.fsencode(bench.source / "b")]
    bench.restore(bench.backup(), paths=chosen, strip=True)
    found = sorted(str(path.relative_to(bench.target)) for path in bench.target.rglob("*"))
    assert found == ["b", "one", "one/a"]


def test_original_place(bench):
    """Into `/` everything goes where it was; folders above that exist are left as they are."""
    (bench.source / "a").write_bytes(b"a" * 900)
    point = bench.backup()
    (bench.source / "a").write_bytes(b"broken")
    above = bench.source.parent.stat()
    path = os.fsencode(bench.source)
    outcome = bench.restore(point, target=b"/", paths=[path], existing=Existing.OVERWRITE)
    assert outcome.problems == []
    assert (bench.source / "a").read_bytes() == b"a" * 900
    assert bench.source.parent.stat().st_mtime_ns == above.st_mtime_ns


@pytest.mark.parametrize("path", [b"/nowhere", b"/etc", b"%b/file/below", b"%b/other"])
def test_a_path_that_the_point_does_not_have(bench, path):
    """It is named, and nothing is written."""
    (bench.source / "file").write_bytes(b"f")
    wanted = path.replace(b"%b", os.fsencode(bench.source))
    with pytest.raises(UsageError, match=re.escape(os.fsdecode(wanted))):
        bench.restore(bench.backup(), paths=[wanted])
    assert os.listdir(bench.target) == []


def test_a_target_that_is_a_file(bench, tmp_path):
    """It is refused with one sentence."""
    (bench.source / "file").write_bytes(b"f")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TargetError, match="not a folder"):
        bench.restore(bench.backup(), target=os.fsencode(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_no_room(bench):
    """What does not fit is refused before anything is written; a disk that fills up meanwhile stops it."""
    (bench.source / "large").write_bytes(os.urandom(3_000_000))
    point = bench.backup()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", bench.target], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(TargetError, match="free"):
            bench.restore(point)
        assert os.listdir(bench.target) == []
        subprocess.run(["mount", "-o", "remount,size=4m", bench.target], check=True)
        with plan_restore(bench.repository, point, target=os.fsencode(bench.target)) as plan:

            class Fills(Silent):
                def phase_started(self, name: str, files: int, size: int) -> None:
                    if name == "write":
                        (bench.target / "filler").write_bytes(bytes(2_500_000))

            with pytest.raises(TargetError, match="no space left"):
                run_restore(plan, Fills())
        left = [path.name for path in bench.target.rglob("*") if path.is_file()]
        assert left == ["filler"]
    finally:
        subprocess.run(["umount", bench.target], check=True)


def test_cancelled(bench):
    """A restore that is cancelled stops, and leaves nothing unfinished under any name."""
    for number in range(2000):
        (bench.source / f"{number}").write_bytes(b"n" * 1000)
    (bench.source / "large").write_bytes(os.urandom(5_000_000))
    point = bench.backup()

    class Stops(Silent):
        def advanced(self, files: int, size: int, path: bytes) -> None:
            if files:
                raise Cancelled("the restore was cancelled")

    with plan_restore(bench.repository, point, target=os.fsencode(bench.target)) as plan:
        with pytest.raises(Cancelled):
            run_restore(plan, Stops())
    for path in bench.restored.iterdir():
        assert path.stat().st_size in (1000, 5_000_000)
        assert path.read_bytes() == (bench.source / path.name).read_bytes()


def test_a_link_above_the_set_is_left(bench, tmp_path):
    """A link that stands where a folder above the chosen paths was is neither followed nor removed."""
    (bench.source / "file").write_bytes(b"f" * 2000)
    point = bench.backup()
    outside = tmp_path / "outside"
    outside.mkdir()
    above = bench.target / bench.source.parts[1]
    above.symlink_to(outside)
    for existing in (Existing.OVERWRITE, Existing.SKIP, Existing.KEEP_BOTH):
        for paths in ([], [os.fsencode(bench.source / "file")]):
            outcome = bench.restore(point, existing=existing, paths=paths)
            assert [problem.path for problem in outcome.problems] == [os.fsencode(above)]
    assert above.is_symlink()
    assert (os.listdir(outside), os.listdir(bench.target)) == ([], [above.name])


def test_overwrite_leaves_folders_above_the_set_as_they_are(bench):
    """What stands above the chosen paths keeps its modes and times."""
    (bench.source / "file").write_bytes(b"f" * 2000)
    point = bench.backup()
    above = bench.restored.parent
    above.mkdir(parents=True)
    above.chmod(0o751)
    bench.restore(point, existing=Existing.OVERWRITE)
    assert above.stat().st_mode & 0o777 == 0o751
    assert (bench.restored / "file").read_bytes() == b"f" * 2000
