"""What LVM and ZFS are asked, and what is made of their answers; the snapshots that work are in the suite.

The answers are worded as the tools of LVM 2.03 and OpenZFS 2 word them.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from backstay.domain.errors import SourceError
from backstay.recovery_points.command import Answer, run_command
from backstay.recovery_points.lvm import Lvm
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace
from backstay.recovery_points.zfs import Zfs

GIB = 1 << 30
NAME = "backstay-0123456789abcdef-0"


def mount(**changes: object) -> Mount:
    """A mount of a logical volume."""
    rw = frozenset((b"rw",))
    plain = Mount(1, b"253:7", b"/", b"/srv", rw, "ext4", b"/dev/mapper/vg-da--ta", rw)
    return plain._replace(**changes)  # type: ignore[arg-type]


def volume(of: Mount) -> Volume:
    """The volume of a mount."""
    return Volume(of, of.point, b"", ("x",), 2)


class Script:
    """Answers commands one after the other, and keeps what was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str], seconds: float) -> Answer:
        """A `Run`."""
        assert seconds > 0
        self.asked.append(list(command))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def lvs(size: int, free: int, pool: str = "") -> Answer:
    """What lvs says of the origin."""
    return Answer(0, f"  vg|da-ta|{pool}|{size}|{free}\n", "  WARNING: something is old.\n")


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """The kernel's description of the device."""
    folder = tmp_path / "sys" / "253:7" / "dm"
    folder.mkdir(parents=True)
    (folder / "name").write_text("vg-da--ta\n")
    (folder / "uuid").write_text("LVM-abc\n")
    return tmp_path / "sys"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One that is nowhere."""
    return Workspace("none", tmp_path / "workspaces")


def taken(script: Script, sys: Path, workspace: Workspace, of: Mount) -> str:
    """Take a recovery point up to the mount, which fails as there is no such device; the complaint."""
    provider = Lvm(script, sys, lambda seconds: None)
    point = provider.plan(volume(of), NAME, workspace)
    with pytest.raises(SourceError) as caught:
        provider.take(point, volume(of), workspace)
    workspace.close()
    return str(caught.value)


def test_lvm_claims_what_lvm_made(sys: Path) -> None:
    """Encrypted and plain partitions, and file systems it cannot mount twice, are left alone."""
    provider = Lvm(Script(), sys)
    assert provider.claims(mount())
    assert provider.claims(mount(fs_type="xfs"))
    assert not provider.claims(mount(fs_type="vfat"))
    assert not provider.claims(mount(device=b"8:1"))
    (sys / "253:7" / "dm" / "uuid").write_text("CRYPT-LUKS2-abc\n")
    assert not provider.claims(mount())


@pytest.mark.parametrize(
    ("size", "free", "room"),
    [
        (100 * GIB, 500 * GIB, 20 * GIB),
        (100 * GIB, 5 * GIB, 5 * GIB),
        (GIB // 10, GIB, 64 << 20),
    ],
)
def test_lvm_room(sys: Path, workspace: Workspace, size: int, free: int, room: int) -> None:
    """A snapshot gets a fifth of its origin, or what is free, in bytes, and never next to nothing."""
    script = Script(lvs(size, free), lvs(size, free), Answer(5, "", "  failed\n"))
    taken(script, sys, workspace, mount())
    assert script.asked[0][0] == "lvs"
    assert script.asked[0][-1] == "/dev/mapper/vg-da--ta"
    assert script.asked[2] == [
        *("lvcreate", "--yes", "--snapshot", "--name", NAME, "--addtag", "backstay"),
        *("--size", f"{room}b", "vg/da-ta"),
    ]


def test_lvm_thin(sys: Path, workspace: Workspace) -> None:
    """A thin snapshot has no size, and is activated."""
    script = Script(lvs(GIB, 0, "pool"), lvs(GIB, 0, "pool"), Answer(5, "", "  failed\n"))
    taken(script, sys, workspace, mount())
    assert script.asked[2][-5:] == ["--setactivationskip", "n", "--activate", "y", "vg/da-ta"]
    assert "--size" not in script.asked[2]


def test_lvm_without_room(sys: Path, workspace: Workspace) -> None:
    """A volume group with no free space is named, and nothing is tried."""
    script = Script(lvs(100 * GIB, GIB), lvs(100 * GIB, GIB))
    complaint = taken(script, sys, workspace, mount())
    assert "volume group vg has 1" in complaint
    assert len(script.asked) == 2


def test_lvm_refusal(sys: Path, workspace: Workspace) -> None:
    """What lvcreate complains of is passed on, without its warnings."""
    refused = Answer(
        5,
        "",
        "  WARNING: Sum of all thin volume sizes exceeds the size of thin pool.\n"
        '  Volume group "vg" has insufficient free space (12 extents): 2560 required.\n',
    )
    complaint = taken(Script(lvs(GIB, GIB), lvs(GIB, GIB), refused), sys, workspace, mount())
    assert complaint.endswith('Volume group "vg" has insufficient free space (12 extents): 2560 required.')
    assert "vg/da-ta" in complaint


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (FileNotFoundError(2, "No such file or directory"), "lvs is not there"),
        (subprocess.TimeoutExpired("lvs", 120), "lvs did not end within 120 seconds"),
        (PermissionError(13, "Permission denied"), "lvs cannot be run: permission denied"),
        (Answer(5, "", '  Failed to find logical volume "x"\n'), "LVM does not know"),
        (Answer(0, "", ""), "not understood"),
        (Answer(0, "  vg|a||?|?\n", ""), "not understood"),
    ],
)
def test_lvm_that_does_not_work(
    sys: Path, workspace: Workspace, answer: Answer | Exception, words: str
) -> None:
    """A tool that is missing, hangs or talks nonsense is an error in words."""
    with pytest.raises(SourceError, match=words):
        Lvm(Script(answer), sys).plan(volume(mount()), NAME, workspace)


def test_lvm_release(workspace: Workspace) -> None:
    """It waits for whoever holds the snapshot for a moment, and names the snapshot that it cannot remove."""
    point = RecoveryPoint("lvm", NAME, "the logical volume vg/data", b"/v", {"group": b"vg"})
    busy = Answer(5, "", f"  Logical volume vg/{NAME} contains a filesystem in use.\n")
    waited: list[float] = []
    script = Script(busy, busy, Answer(0, "  removed\n", ""))
    Lvm(script, pause=waited.append).release(point, workspace)
    assert script.asked == [["lvremove", "--yes", f"vg/{NAME}"]] * 3
    assert len(waited) == 2
    gone = Script(Answer(5, "", f'  Failed to find logical volume "vg/{NAME}"\n'))
    Lvm(gone).release(point, workspace)
    with pytest.raises(SourceError, match="in use"):
        Lvm(Script(*[busy] * 20), pause=waited.append).release(point, workspace)


def test_lvm_release_without_its_group(workspace: Workspace) -> None:
    """A volume group whose disks are away may come back with the snapshot: that is not deleted."""
    point = RecoveryPoint("lvm", NAME, "the logical volume vg/data", b"/v", {"group": b"vg"})
    away = Answer(5, "", '  Volume group "vg" not found\n  Cannot process volume group vg\n')
    kept = Lvm(Script(*[away] * 20), pause=lambda seconds: None).sweep([point], workspace)
    assert list(kept) == [NAME]
    assert 'Volume group "vg" not found' in kept[NAME]


def zfs_volume() -> tuple[Mounts, Mount]:
    """The machine's own root, told as a dataset."""
    line = b"%d 1 0:50 / / rw - zfs tank/da_ta rw\n"
    info = Path("/proc/self/mountinfo").read_bytes().splitlines()
    number = next(int(text.split()[0]) for text in info if text.split()[4] == b"/")
    mounts = Mounts(line % number)
    return mounts, mounts.all[0]


def test_zfs_plan(workspace: Workspace) -> None:
    """The snapshot is of the dataset alone, and read below `.zfs` where the dataset is mounted."""
    mounts, root = zfs_volume()
    provider = Zfs(Script())
    [found] = provider.volumes(root, b"/usr", mounts, nested=True)
    point = provider.plan(found, NAME, workspace)
    assert point.view == b"/.zfs/snapshot/" + NAME.encode()
    assert found.inner == b"usr"
    script = Script(Answer(0, "", ""))
    Zfs(script).take(point, found, workspace)
    assert script.asked == [["zfs", "snapshot", f"tank/da_ta@{NAME}"]]


def test_zfs_mounted_in_part() -> None:
    """Where only a folder of the dataset is mounted its snapshots are out of reach, and that is said."""
    _, root = zfs_volume()
    part = root._replace(root=b"/folder")
    with pytest.raises(SourceError, match="mounted only in part"):
        Zfs(Script()).volumes(part, b"/usr", Mounts(b""), nested=False)


def test_zfs_leaves_snapshots() -> None:
    """What is a snapshot already cannot be frozen again."""
    _, root = zfs_volume()
    assert Zfs(Script()).claims(root)
    assert not Zfs(Script()).claims(root._replace(source=b"tank/da_ta@daily"))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(1, "", f"cannot create snapshot 'tank/da_ta@{NAME}': out of space\n"), "out of space"),
        (Answer(1, "", "cannot create snapshots : permission denied\n"), "permission denied"),
        (Answer(2, "", ""), "exit code 2"),
        (FileNotFoundError(2, "No such file or directory"), "zfs is not there"),
        (subprocess.TimeoutExpired("zfs", 120), "did not end"),
    ],
)
def test_zfs_refusal(workspace: Workspace, answer: Answer | Exception, words: str) -> None:
    """A snapshot that cannot be made is an error with the tool's own reason."""
    mounts, root = zfs_volume()
    provider = Zfs(Script(answer))
    [found] = provider.volumes(root, b"/", mounts, nested=False)
    with pytest.raises(SourceError, match=words):
        provider.take(provider.plan(found, NAME, workspace), found, workspace)


def test_zfs_release(workspace: Workspace) -> None:
    """Busy datasets get time; a snapshot or dataset that is gone is well; anything else is an error."""
    point = RecoveryPoint("zfs", NAME, "the dataset tank/d", b"/v", {"dataset": b"tank/d"})
    busy = Answer(1, "", f"cannot destroy snapshot tank/d@{NAME}: dataset is busy\n")
    waited: list[float] = []
    script = Script(busy, Answer(0, "", ""))
    Zfs(script, waited.append).release(point, workspace)
    assert script.asked == [["zfs", "destroy", f"tank/d@{NAME}"]] * 2
    assert len(waited) == 1
    for words in (
        "could not find any snapshots to destroy; check snapshot names.",
        "cannot open 'tank/d': dataset does not exist",
    ):
        Zfs(Script(Answer(1, "", words + "\n"))).release(point, workspace)
    with pytest.raises(SourceError, match="dataset is busy"):
        Zfs(Script(*[busy] * 20), waited.append).release(point, workspace)


def test_commands_are_run_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real seam: exit code, both outputs, no input, a time limit, and messages that can be matched."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    answer = run_command(["sh", "-c", "cat; echo $LC_ALL; echo bad >&2; exit 3"], 10)
    assert answer == Answer(3, "C\n", "bad\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_command(["sleep", "5"], 0.1)
    with pytest.raises(FileNotFoundError):
        run_command(["backstay-no-such-command"], 1)
    assert os.environ["LC_ALL"] == "de_DE.UTF-8"
