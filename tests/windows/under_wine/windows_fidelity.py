"""What belongs to a Windows file comes back after a backup and a restore, as far as wine has it."""

import contextlib
import ctypes
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.cli.main import main
from backstay.filesystem.nt_file_windows import WindowsFile
from backstay.filesystem.windows_facts import capture
from backstay.system.calls import os
from backstay.system.windows_open import missing_privileges, raw_handle
from backstay.system.windows_paths import nt_path

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
HIDDEN, READONLY, SYSTEM, ARCHIVE = 2, 1, 4, 0x20


def run(*words: str) -> None:
    """Run `backstay`; it must succeed without a warning."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(words))
    assert code == 0, said.getvalue()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[WindowsFile]:
    """The file, as metadata is read and written."""
    fd = os.open(str(path), os.O_RDONLY)
    try:
        yield WindowsFile(raw_handle(fd))
    finally:
        os.close(fd)


def there_and_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Back up `source`, restore it, and return where it is then."""
    monkeypatch.setenv("BACKSTAY_PASSPHRASE", "correct horse battery staple")
    monkeypatch.setenv("BACKSTAY_STATE", str(folder / "state"))
    monkeypatch.setenv("BACKSTAY_CACHE", str(folder / "cache"))
    repository = str(folder / "repository")
    run("repo", "init", repository, "--recovery-sheet", str(folder / "sheet.txt"))
    run("repo", "backup", repository, str(folder / "source"))
    run("repo", "restore", repository, "latest", "--to", str(folder / "out"))
    return folder / "out" / "C" / (folder / "source").relative_to(folder.anchor)


def test_attributes_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden, read-only and system files are so again, and so are folders."""
    source = tmp_path / "source"
    wanted = {"plain": ARCHIVE, "hidden": HIDDEN | ARCHIVE, "system": SYSTEM | HIDDEN, "fixed": READONLY}
    (source / "folder").mkdir(parents=True)
    for name, bits in wanted.items():
        (source / name).write_bytes(name.encode())
        assert ctypes.windll.kernel32.SetFileAttributesW(str(source / name), bits)
    assert ctypes.windll.kernel32.SetFileAttributesW(str(source / "folder"), HIDDEN)
    there = there_and_back(tmp_path, monkeypatch)
    for name, bits in {**wanted, "folder": HIDDEN}.items():
        found = ctypes.windll.kernel32.GetFileAttributesW(str(there / name))
        assert found & (HIDDEN | READONLY | SYSTEM) == bits & (HIDDEN | READONLY | SYSTEM), name


def test_security_descriptors_are_read_and_written(tmp_path: Path) -> None:
    """What was read can be set on another file, which then says the same."""
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"")
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        descriptor = one.security()
        assert descriptor[0] == 1
        assert len(descriptor) > 20
        two.set_security(descriptor)
        assert two.security() == descriptor


def test_what_is_captured_names_no_problem(tmp_path: Path) -> None:
    """A plain file and a folder have attributes, a time of creation and a descriptor."""
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file"):
        with opened(path) as file:
            extras = capture(file)
        assert extras.problem == ""
        assert {name for name, _ in extras.xattrs} >= {
            b"system.ntfs_attrib",
            b"system.ntfs_crtime",
            b"system.ntfs_acl",
        }


def test_holds_the_rights_of_a_backup_program() -> None:
    """An administrator's process has them switched on."""
    assert "SeBackupPrivilege" not in missing_privileges
    assert "SeRestorePrivilege" not in missing_privileges


@pytest.mark.skipif(WINE, reason="wine 8 has no alternate data streams")
def test_streams_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of a file and one of a folder have their content again."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"main")
    for path, content in ((f"{source / 'file'}:note", b"aside"), (f"{source}:of folder", b"x" * 5000)):
        Path(path).write_bytes(content)
    there = there_and_back(tmp_path, monkeypatch)
    assert (there / "file").read_bytes() == b"main"
    assert Path(f"{there / 'file'}:note").read_bytes() == b"aside"
    assert Path(f"{there}:of folder").read_bytes() == b"x" * 5000


@pytest.mark.skipif(WINE, reason="wine 8 makes no reparse points")
def test_links_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symbolic links to files and folders lead where they led."""
    source = tmp_path / "source"
    (source / "folder").mkdir(parents=True)
    (source / "file").write_bytes(b"main")
    (source / "to file").symlink_to("file")
    (source / "to folder").symlink_to("folder", target_is_directory=True)
    there = there_and_back(tmp_path, monkeypatch)
    assert (there / "to file").read_bytes() == b"main"
    assert (there / "to folder").is_dir()
    assert str((there / "to file").readlink()) == "file"


@pytest.mark.skipif(WINE, reason="wine 8 keeps no time of creation")
def test_times_of_creation_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is as old as it was."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"")
    with opened(tmp_path / "source" / "file") as file:
        file.set_basic(ARCHIVE, 131_000_000_000_000_000, 131_500_000_000_000_000)
    there = there_and_back(tmp_path, monkeypatch)
    with opened(there / "file") as file:
        assert file.basic()[1] == 131_000_000_000_000_000


@pytest.mark.skipif(WINE, reason="wine 8 has only names that are valid UTF-16")
def test_broken_names_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with half of a surrogate pair is kept."""
    (tmp_path / "source").mkdir()
    place = os.path.abspath(os.fsencode(str(tmp_path / "source")))
    name = "half \ud800".encode("utf-8", "surrogatepass")
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd=fd))
    os.close(fd)
    assert nt_path(place + b"/" + name).endswith("\ud800")
    there = there_and_back(tmp_path, monkeypatch)
    assert os.listdir(os.fsencode(str(there))) == ["half \ud800"]
