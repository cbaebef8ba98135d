"""What cannot be frozen, and why, in words."""

from backstay.recovery_points.volume import Mount
from backstay.system.host import quoted_path

_OF_THE_KERNEL = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
        *("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs"),
        *("securityfs", "selinuxfs", "sysfs", "tracefs"),
    )
)
_NEVER_WRITTEN = frozenset(("cramfs", "erofs", "iso9660", "squashfs"))
_OF_THE_NETWORK = frozenset(("9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3"))
_IN_MEMORY = frozenset(("ramfs", "tmpfs"))


def needs_no_freezing(mount: Mount) -> bool:
    """Whether nothing is lost by reading it live: no file there is a user's, or none can ever change."""
    return mount.fs_type in _OF_THE_KERNEL or mount.fs_type in _NEVER_WRITTEN


def is_same_for_all(mount: Mount) -> bool:
    """Whether it is made by the kernel, and so is never worth a word."""
    return mount.fs_type in _OF_THE_KERNEL


def why_live(place: bytes, mount: Mount, *, is_root: bool) -> str:
    """One sentence: what lies at `place`, and why it is not frozen.

    Args:
        is_root: whether this process is root's.
    """
    what = f"{quoted_path(place)} is {mount.fs_type}"
    kind = mount.fs_type
    if mount.is_read_only or kind in _NEVER_WRITTEN:
        return f"{what}, mounted read-only: no recovery point can be made on it; its files are read live"
    if not is_root and kind in ("btrfs", "zfs"):
        return f"{what}: only root can freeze it; its files are read live"
    if kind in _OF_THE_NETWORK:
        return f"{what}, on another machine: it cannot be frozen from here; its files are read live"
    if kind in _IN_MEMORY:
        return f"{what}, in memory: it cannot be frozen; its files are read live"
    if mount.source.startswith(b"/dev/"):
        return f"{what} on a plain partition: it cannot be frozen; its files are read live"
    return f"{what}: it cannot be frozen; its files are read live"
