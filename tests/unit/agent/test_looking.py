"""What an agent says of its disk when it is asked what a content rule would leave out."""

import os
from pathlib import Path

from backstay.agent.looking import look
from backstay.protocol.report import LookAnswer
from backstay.protocol.ticket import LookTicket


def looked(path: Path, rule: str, *, own: tuple[Path, ...] = (), **fields: int) -> LookAnswer:
    """The answer for a path."""
    ticket = LookTicket(
        job=1,
        epoch=1,
        path=os.fsencode(path),
        rule=rule,
        default_rules=False,
        **fields,  # type: ignore[arg-type]
    )
    answer = look(ticket, own).look
    assert answer is not None
    return answer


def a_tree(folder: Path) -> None:
    """Two folders, a link that leads out, and files, one of them with a name that is no text."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_bytes(b"12345")
    (folder / "src" / "a.tmp").write_bytes(b"123")
    (folder / "cache" / "deep").mkdir(parents=True)
    (folder / "cache" / "deep" / "kept").touch()
    (folder / "way out").symlink_to("/")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.tmp")).write_bytes(b"1234567")


def test_each_entry_of_a_folder_is_judged_with_the_rule_that_decides(tmp_path: Path) -> None:
    """Folders first; what is below a folder counts, but not what is below one that is left out."""
    a_tree(tmp_path / "data")
    answer = looked(tmp_path / "data", "# scratch\n*.tmp\ncache/\n")
    by_name = {os.path.basename(one.path): one for one in answer.entries}
    assert list(by_name) == [b"cache", b"src", b"way out", b"\xff.tmp"]
    assert [one.included for one in by_name.values()] == [False, True, True, False]
    assert by_name[b"way out"].kind == "link"
    assert by_name[b"\xff.tmp"].reason == "excluded by `*.tmp` (the rule line 2): scratch"
    assert (answer.files, answer.bytes) == (2, 5 + 1)
    assert (answer.left_out_files, answer.left_out_bytes, answer.left_out_folders) == (2, 10, 1)
    assert answer.complete
    assert not answer.more


def test_a_file_and_what_is_not_there_are_judged_by_their_way(tmp_path: Path) -> None:
    """The folder that decides ends the list; of nothing, nothing is said but the way."""
    a_tree(tmp_path)
    inside = looked(tmp_path / "cache" / "deep" / "kept", "cache/\n!kept\n")
    assert inside.found == "file"
    assert inside.above[-1].path.endswith(b"/cache")
    assert not inside.above[-1].included
    assert looked(tmp_path / "nowhere", "").found == "nothing"
    below = looked(tmp_path / "cache" / "deep", "cache/\n")
    assert (below.found, below.entries) == ("folder", [])


def test_nothing_is_told_of_backstays_own_folders(tmp_path: Path) -> None:
    """The rule cannot bring them back."""
    a_tree(tmp_path / "agent")
    answer = looked(tmp_path / "agent", f"!{tmp_path}/agent/\n", own=(tmp_path / "agent",))
    assert answer.entries == []
    assert not answer.above[-1].included
    assert "Backstay's own folders" in answer.above[-1].reason


def test_the_answer_is_bounded(tmp_path: Path) -> None:
    """By entries and by seconds; then it says that it is not all."""
    a_tree(tmp_path)
    few = looked(tmp_path, "", most_entries=2)
    assert (len(few.entries), few.more, few.complete) == (2, True, True)
    none = looked(tmp_path, "", seconds=0)
    assert not none.complete


def test_a_disk_that_refuses_is_told_in_words(tmp_path: Path) -> None:
    """So is a rule that cannot be understood."""
    assert "line 1" in looked(tmp_path, "[size > nonsense] *\n").problem
    assert looked(tmp_path / ("x" * 300), "").problem == "name too long"
