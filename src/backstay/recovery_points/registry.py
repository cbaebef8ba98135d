"""Every provider, in the order in which they are asked. A new one is one line in `PROVIDERS`.

Here, too, is chosen what differs between Linux and Windows: how mounts are read, and what a workspace is.
"""

import os
import sys
from collections.abc import Sequence

from backstay.recovery_points.provider import Provider
from backstay.recovery_points.record import Records
from backstay.recovery_points.volume import Mount, Mounts
from backstay.recovery_points.workspace import WORKSPACES, Workspace

PROVIDERS: tuple[Provider, ...]
if sys.platform == "win32":
    from backstay.recovery_points.mounts_windows import WindowsMounts as _Mounts
    from backstay.recovery_points.vss import Vss
    from backstay.recovery_points.vss_com_windows import WindowsVss
    from backstay.recovery_points.workspace_windows import WindowsWorkspace as _Workspace
    from backstay.system.windows_paths import from_windows

    PROVIDERS = (Vss(WindowsVss(), from_windows),)
else:
    from backstay.recovery_points.btrfs import Btrfs, hidden_folder
    from backstay.recovery_points.lvm import Lvm
    from backstay.recovery_points.volume import Mounts as _Mounts
    from backstay.recovery_points.workspace import Workspace as _Workspace
    from backstay.recovery_points.zfs import Zfs

    PROVIDERS = (
        Btrfs(),
        Zfs(),
        Lvm(),
    )


def read_mounts() -> Mounts:
    """The mounts as they are now."""
    return _Mounts.read()


def workspace_named(name: str) -> Workspace:
    """A job's workspace."""
    return _Workspace(name)


def own_folders(mounts: Mounts) -> list[bytes]:
    """The live paths of the folders in which Backstay keeps recovery points: no part of any set."""
    if sys.platform == "win32":
        return []
    return [os.fsencode(WORKSPACES), *filter(None, map(hidden_folder, mounts.all))]


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
            workspace = workspace_named(name)
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
