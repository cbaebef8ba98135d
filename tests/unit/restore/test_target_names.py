"""What entries are called where their own name cannot be had."""

from backstay.domain.entry import Entry
from backstay.restore.carry_over import CarryOver
from backstay.restore.target_names import beside_its_like, folded, linux_name, windows_name

FILE = 0o100644


def entry(name: bytes, mode: int = FILE, **more: object) -> Entry:
    """An entry of that name."""
    return Entry(name, mode, 0, 0, 0, 0, 0, 1, 1)._replace(**more)  # type: ignore[arg-type]


def on_windows(name: bytes) -> str:
    """The name on Windows of one from Linux."""
    return windows_name(name, from_windows=False).decode("utf-8", "surrogatepass")


def test_names_that_windows_allows_stay() -> None:
    """Nothing is done to an ordinary name, in whatever script."""
    for name in ("a.txt", "Größe ☂ 𝄞", ".hidden", "con-figuration", "a b.c", "console.log"):
        assert on_windows(name.encode()) == name


def test_forbidden_characters_become_private_ones() -> None:
    """Each of them as Services for Macintosh, Cygwin and WSL write it, so none is lost and none is alike."""
    assert on_windows(b'a:b*c?d"e<f>g|h\\i') == ("a\uf03ab\uf02ac\uf03fd\uf022e\uf03cf\uf03eg\uf07ch\uf05ci")
    assert on_windows(b"a\x01\x1f") == "a\uf001\uf01f"
    assert on_windows(b"dot.") == "dot\uf02e"
    assert on_windows(b"space ") == "space\uf020"


def test_bytes_that_are_no_text_become_private_ones() -> None:
    """A Latin-1 name from Linux is kept byte by byte."""
    assert on_windows(b"caf\xe9") == "caf\uf0e9"


def test_names_of_devices_are_no_names_of_devices() -> None:
    """CON and its like can be used by any program after a restore."""
    assert on_windows(b"CON") == "CO\uf04e"
    assert on_windows(b"nul.txt") == "nu\uf06c.txt"
    assert on_windows(b"com1") == "com\uf031"


def test_names_from_windows_are_kept() -> None:
    """What NTFS had it gets back, also what no program can open; but never a way to another folder."""
    assert windows_name(b"CON", from_windows=True) == b"CON"
    assert windows_name(b"dot.", from_windows=True) == b"dot."
    half = "half \ud800".encode("utf-8", "surrogatepass")
    assert windows_name(half, from_windows=True) == half
    assert b"\\" not in windows_name(rb"..\..\x", from_windows=True)
    assert b":" not in windows_name(b"file:stream", from_windows=True)


def test_a_drive_is_a_folder_elsewhere() -> None:
    """Restored aside, `C:` is a folder C; restored to the original place it is the drive."""
    assert windows_name(b"C:", from_windows=True) == b"C"
    original = CarryOver(original=True, on_windows=True)
    assert original.name(entry(b"C:", 0o040755), {}, is_top=True) == b"C:"
    assert original.notes() == []


def test_long_names_are_shortened_alike_each_time() -> None:
    """A name stays recognisable, keeps its extension and whole characters, and differs from its like."""
    name = "ü".encode() * 200 + b".txt"
    short = linux_name(name)
    assert len(short) <= 255
    assert short.endswith(b".txt")
    assert short.decode().startswith("üüü")
    assert short == linux_name(name) != linux_name("ü".encode() * 201 + b".txt")
    assert linux_name(b"a" * 255) == b"a" * 255


def test_names_that_differ_in_case_both_come_back() -> None:
    """The second of two gets another name, the same one every time."""
    taken: dict[str, bytes] = {}
    names = CarryOver(on_windows=True)
    first = names.name(entry(b"Readme"), taken, is_top=False)
    second = names.name(entry(b"README"), taken, is_top=False)
    assert first == b"Readme"
    assert second == beside_its_like(b"README")
    assert folded(first) != folded(second)
    assert "1 file cannot have the name that it had" in names.notes()[0]


def test_what_linux_cannot_keep_is_said() -> None:
    """A restore point from Windows on Linux: descriptors, attributes and large streams, each counted."""
    seen = CarryOver(on_windows=False)
    attributes = (b"system.ntfs_attrib", b"\x20\0\0\0")
    for number in range(2):
        seen.see(entry(b"%d" % number, xattrs=((b"system.ntfs_acl", b"x"), attributes)))
    seen.see(entry(b"plain"))
    notes = seen.notes()
    assert len(notes) == 2
    assert notes[0].startswith("Windows security descriptors of 2 files")
    assert CarryOver(on_windows=False).notes() == []


def test_what_windows_cannot_keep_is_said() -> None:
    """A restore point from Linux on Windows: modes, lists, flags and special files."""
    seen = CarryOver(on_windows=True)
    seen.see(entry(b"a", xattrs=((b"system.posix_acl_access", b"x"),), flags=0x10))
    seen.see(entry(b"pipe", 0o010644))
    notes = " ".join(seen.notes())
    for words in (
        "mode of 2 files",
        "lists, capabilities and labels of 1 file",
        "flags of 1 file",
        "1 file cannot be made",
    ):
        assert words in notes
    without = CarryOver(on_windows=True, with_permissions=False)
    without.see(entry(b"a", flags=0x10))
    assert without.notes() == []
