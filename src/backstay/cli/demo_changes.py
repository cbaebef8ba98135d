"""The changes that the demo makes to its working copy: of each kind a few."""

import os
from pathlib import Path

from backstay.cli.text import counted

_EACH = 20


def change_some_files(top: Path) -> str:
    """Change, delete, add and rename below `top`, and say what was done."""
    files = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(top)
        for name in names
        if not Path(folder, name).is_symlink() and Path(folder, name).is_file()
    )
    step = max(len(files) // (2 * _EACH), 1)
    chosen = [file for file in files[::step] if os.access(file, os.W_OK)][: 2 * _EACH]
    changed, deleted = chosen[::2], chosen[1::2]
    for file in changed:
        with file.open("ab") as opened:
            opened.write(b"one more line\n")
    for file in deleted:
        file.unlink()
    added = top / "added by the demo"
    added.mkdir()
    for number in range(_EACH):
        (added / f"note {number}.txt").write_text(f"note {number}\n" * 100)
    (added / "link").symlink_to("note 0.txt")
    os.link(added / "note 1.txt", added / "the same file again.txt")
    if changed:
        changed[0].rename(changed[0].with_name(changed[0].name + ".renamed"))
    return (
        f"{counted(len(changed), 'file')} changed, {len(deleted)} deleted, {_EACH} added, 1 renamed, "
        "a symbolic and a hard link added"
    )
