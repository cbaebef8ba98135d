"""Every provider, in the order in which they are asked. A new one is one line in `PROVIDERS`."""

from collections.abc import Sequence

from backstay.recovery_points.btrfs import Btrfs
from backstay.recovery_points.lvm import Lvm
from backstay.recovery_points.provider import Provider
from backstay.recovery_points.record import Records
from backstay.recovery_points.volume import Mount
from backstay.recovery_points.workspace import Workspace
from backstay.recovery_points.zfs import Zfs

PROVIDERS: tuple[Provider, ...] = (
    Btrfs(),
    Zfs(),
    Lvm(),
)


def provider_for(mount: Mount, providers: Sequence[Provider] = PROVIDERS) -> Provider | None:
    """The first that claims the mount."""
    return next((provider for provider in providers if provider.claims(mount)), None)


def sweep(records: Records, providers: Sequence[Provider] = PROVIDERS) -> list[str]:
    """Delete the recovery points, mounts and folders that dead processes left; says in words what stays.

    Touches nothing that is not recorded, and no record of a process that lives. Never raises.
    """
    kept: dict[str, str] = {}
    with records.abandoned() as left:
        for name in sorted({record.workspace for record in left}):
            points = [record.point for record in left if record.workspace == name]
            workspace = Workspace(name)
            workspace.close()
            for provider in providers:
                theirs = [point for point in points if point.provider == provider.name]
                kept |= provider.sweep(theirs, workspace) if theirs else {}
            # Before the records go: they are what leads to the workspace.
            workspace.close()
            for point in points:
                if point.name not in kept:
                    records.remove(point.name)
    return list(kept.values())
