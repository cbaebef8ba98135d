"""The demo, on a small tree."""

import os
import re


def test_the_demo_restores_both_points_and_leaves_the_source_alone(cli):
    """It ends with 0, says what was done and what to try next, and changes nothing in the source."""
    source = cli.folder / "tree"
    (source / "sub").mkdir(parents=True)
    for number in range(50):
        (source / "sub" / f"{number}.txt").write_text(f"{number}\n" * number)
    os.link(source / "sub" / "1.txt", source / "linked")
    before = {path: path.lstat() for path in source.rglob("*")}
    told = cli("demo", "--source", "tree").out
    after = {path: path.lstat() for path in source.rglob("*")}
    assert [(one.st_mtime_ns, one.st_ctime_ns) for one in before.values()] == [
        (one.st_mtime_ns, one.st_ctime_ns) for one in after.values()
    ]
    assert before.keys() == after.keys()
    assert told.count("compared one by one") == 2
    # Two backups, two restores, and a verify that read everything.
    assert len(re.findall(r"^job \d+ succeeded", told, flags=re.MULTILINE)) == 5
    assert "Try next:" in told
    restored = cli.folder / "demo" / "restored-first" / "source" / "sub" / "7.txt"
    assert restored.read_text() == "7\n" * 7
    cli("demo", "--source", "tree")


def test_the_demo_overwrites_only_an_earlier_demo(cli):
    """A folder with anything else in it is refused, and stays as it was."""
    (cli.folder / "tree").mkdir()
    (cli.folder / "mine").mkdir()
    (cli.folder / "mine" / "letter").touch()
    assert "not empty" in cli("demo", "--source", "tree", "--folder", "mine", code=2).err
    assert os.listdir(cli.folder / "mine") == ["letter"]
    assert "lies in" in cli("demo", "--source", ".", "--folder", "inside", code=2).err
    assert "gone" in cli("demo", "--source", "gone", code=2).err
