"""How Windows paths look inside the engine."""

import pytest

from backstay.system.windows_paths import (
    absolute,
    link_target,
    name_of,
    nt_path,
    text_of,
    windows_path,
    windows_target,
)


@pytest.mark.parametrize(
    ("written", "engine", "kernel"),
    [
        (rb"C:\Users\x", b"/C:/Users/x", r"\??\C:\Users\x"),
        (b"c:/Users//x/.", b"/C:/Users/x", r"\??\C:\Users\x"),
        (b"C:", b"/C:", "\\??\\C:\\"),
        (b"D:\\", b"/D:", "\\??\\D:\\"),
        (rb"\\server\share\a", b"/UNC/server/share/a", r"\??\UNC\server\share\a"),
        (rb"\\?\C:\a ", b"/C:/a ", r"\??\C:\a "),
        (rb"\\?\UNC\server\share", b"/UNC/server/share", r"\??\UNC\server\share"),
        (
            rb"\\?\Volume{12345678-0000-0000-0000-100000000000}\a",
            b"/Volume{12345678-0000-0000-0000-100000000000}/a",
            r"\??\Volume{12345678-0000-0000-0000-100000000000}\a",
        ),
        (
            rb"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy3",
            b"/GLOBALROOT/Device/HarddiskVolumeShadowCopy3",
            "\\??\\GLOBALROOT\\Device\\HarddiskVolumeShadowCopy3\\",
        ),
        (
            rb"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy3\a\b",
            b"/GLOBALROOT/Device/HarddiskVolumeShadowCopy3/a/b",
            r"\??\GLOBALROOT\Device\HarddiskVolumeShadowCopy3\a\b",
        ),
        (rb"sub\file", b"/D:/here/sub/file", r"\??\D:\here\sub\file"),
        (rb"..\file", b"/D:/file", r"\??\D:\file"),
        (rb"\top", b"/D:/top", r"\??\D:\top"),
        (b"/C:/Users", b"/C:/Users", r"\??\C:\Users"),
        (b"/UNC/server/share/a", b"/UNC/server/share/a", r"\??\UNC\server\share\a"),
    ],
)
def test_every_spelling_leads_to_one_path(written: bytes, engine: bytes, kernel: str) -> None:
    """A path as users write it becomes the engine's, which leads the kernel to the same place."""
    found = absolute(written, b"/D:/here")
    assert found == engine
    assert absolute(found, b"/D:/here") == engine
    assert nt_path(found) == kernel


def test_the_root_is_kept() -> None:
    """`/`, the place of all drives, is no path of a drive."""
    assert absolute(b"/", b"/D:/here") == b"/"


def test_dots_lead_out_of_no_drive() -> None:
    """No path climbs from one drive to another."""
    assert absolute(rb"C:\..\..\x", b"/D:") == b"/C:/x"
    assert absolute(rb"\\server\share\..\other", b"/D:") == b"/UNC/server/share/other"
    assert absolute(rb"..\..\..\x", b"/D:/a") == b"/D:/x"


@pytest.mark.parametrize("text", ["plain", "Größe ☂ 𝄞", "half \ud800 of a pair", "\udfff\udbff"])
def test_every_name_comes_back(text: str) -> None:
    """Also a name that is not valid UTF-16 is kept, and two halves that meet are not taken for a pair."""
    assert text_of(name_of(text)) == text


@pytest.mark.parametrize(
    ("engine", "shown"),
    [
        (b"/C:/Users/x", r"C:\Users\x"),
        (b"/UNC/server/share/a", r"\\server\share\a"),
        (b"/C:/" + b"a" * 300, "\\\\?\\C:\\" + "a" * 300),
        (b"/GLOBALROOT/Device/X/a", r"\\?\GLOBALROOT\Device\X\a"),
    ],
)
def test_programs_get_paths_that_they_know(engine: bytes, shown: str) -> None:
    """Long paths and devices are given with the prefix that switches off the limits."""
    assert windows_path(engine) == shown


@pytest.mark.parametrize(
    ("windows", "target"),
    [
        (r"..\a\b", b"../a/b"),
        (r"C:\a", b"/C:/a"),
        (r"\\server\share\a", b"/UNC/server/share/a"),
        ("file", b"file"),
    ],
)
def test_links_lead_to_the_same_place_on_both_sides(windows: str, target: bytes) -> None:
    """A link's target is kept in the engine's spelling, and goes back to what it was."""
    assert link_target(windows) == target
    assert windows_target(target) == windows
